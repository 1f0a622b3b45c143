"""A task of somebody else's package, as fusionscope finds it: by an entry point alone."""

import pytest

from fusionscope.errors import ConfigError
from fusionscope.tasks import known_tasks, load_task


@pytest.fixture(autouse=True)
def installed(install_outside):
    install_outside("fusionscope.tasks")


def test_a_task_from_outside_is_loaded_by_name():
    assert {"clock", "pope"} <= set(known_tasks())
    task = load_task("clock", sizes=2)
    assert (task.name, len(task.images), task.truth.shape) == ("clock", 8, (8, 3))
    assert len({task.images.digest(i) for i in range(8)}) == 8
    assert load_task("clock", sizes=2).fingerprint == task.fingerprint
    with pytest.raises(ConfigError, match=r"task 'clock'(?s:.*)it takes sizes"):
        load_task("clock", size=2)
