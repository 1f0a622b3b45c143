"""A task of somebody else's package, as fusionscope finds it: by an entry point alone."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fusionscope import plugins
from fusionscope.errors import ConfigError
from fusionscope.tasks import known_tasks, load_task

OUTSIDE = Path(__file__).parents[1] / "outside"


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    group = "fusionscope.tasks"
    added = tomllib.loads((OUTSIDE / "pyproject.toml").read_text())["project"]["entry-points"][group]
    points = [EntryPoint(name=name, value=value, group=group) for name, value in added.items()]
    inside = plugins.entry_points
    monkeypatch.setattr(plugins, "entry_points", lambda group: [*inside(group=group), *points])
    monkeypatch.syspath_prepend(str(OUTSIDE))
    plugins.entries_of.cache_clear()
    yield
    plugins.entries_of.cache_clear()


def test_a_task_from_outside_is_loaded_by_name():
    assert {"clock", "pope"} <= set(known_tasks())
    task = load_task("clock", sizes=2)
    assert (task.name, len(task.images), task.truth.shape) == ("clock", 8, (8, 3))
    assert len({task.images.digest(i) for i in range(8)}) == 8
    assert load_task("clock", sizes=2).fingerprint == task.fingerprint
    with pytest.raises(ConfigError, match=r"task 'clock'(?s:.*)it takes sizes"):
        load_task("clock", size=2)
