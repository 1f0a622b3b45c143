"""Which families there are, and what is said of models that none of them serves."""

from importlib.metadata import EntryPoint
from pathlib import Path
from pkgutil import iter_modules
from types import SimpleNamespace

import pytest
import torch
from family_tester import forget_families

from fusionscope import plugins
from fusionscope.errors import ConfigError, UnknownNameError
from fusionscope.lvlm import LVLM, families, family_of, known_model_types, miniature, register

LLAVA = "fusionscope.lvlm.families.llava:FAMILY"


@pytest.fixture
def entry_points(monkeypatch):
    """Entry points in place of those that are installed."""

    def install(**values):
        entries = [EntryPoint(name=name, value=value, group=register.FAMILIES.group) for name, value in values.items()]
        monkeypatch.setattr(plugins, "entry_points", lambda group: entries)
        forget_families()

    yield install
    monkeypatch.undo()
    forget_families()


def test_every_family_has_its_file_of_tests():
    tested = {path.stem.removeprefix("test_") for path in (Path(__file__).parent / "families").glob("test_*.py")}
    assert tested == {module.name for module in iter_modules(families.__path__)}


def test_a_model_of_no_family_is_refused_and_how_to_add_one_is_said():
    model, processor = torch.nn.Linear(2, 2), miniature("llava")[1]
    with pytest.raises(UnknownNameError, match=r"Linear has no config\.model_type"):
        LVLM.wrap(model, processor)
    for model_type in ("linear_thing", "cambrian_llama"):
        model.config = SimpleNamespace(model_type=model_type)
        with pytest.raises(UnknownNameError, match=f"'{model_type}'") as caught:
            LVLM.wrap(model, processor)
        assert all(name in str(caught.value) for name in known_model_types())
        assert "in a package of your own" in str(caught.value)
        assert "'fusionscope.families'" in str(caught.value)


def test_a_parameter_of_no_part_is_refused():
    with pytest.raises(UnknownNameError, match=r"'extra.weight' belongs to no part[\s\S]*a model type of its own"):
        family_of("llava").parts.part_of("extra.weight")


def test_two_families_of_one_type_are_refused(entry_points):
    entry_points(mine=LLAVA)
    with pytest.raises(ConfigError, match=r"two families .*'llava'[\s\S]*families\.llava and .*'mine'"):
        known_model_types()


def test_an_entry_point_that_is_no_family_is_refused(entry_points):
    entry_points(mine="fusionscope.lvlm.families.llava:nothing")
    with pytest.raises(ConfigError, match=r"'mine'.*cannot be loaded[\s\S]*nothing"):
        known_model_types()
    entry_points(mine="fusionscope.lvlm.families.llava:Family")
    with pytest.raises(
        ConfigError, match=r"'mine' of 'fusionscope\.families' is .*[\s\S]*must be a fusionscope\.lvlm\.Family"
    ):
        known_model_types()
