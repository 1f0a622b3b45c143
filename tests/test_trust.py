"""A class that a file names is imported only where that cannot run a stranger's code."""

import sys
from importlib.metadata import EntryPoint

import pytest

from fusionscope import trust
from fusionscope.errors import DataError
from fusionscope.stages import AlignmentPretraining, VLMStage
from fusionscope.trust import class_path, trusted_class


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that notes that it was imported."""
    (tmp_path / "a_trap.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('sprung').touch()\nX = int\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "sprung"
    sys.modules.pop("a_trap", None)


def test_ours_and_what_is_imported_already_are_found():
    assert trusted_class(class_path(AlignmentPretraining), file="x", kind=VLMStage) is AlignmentPretraining
    assert trusted_class("collections.OrderedDict", file="x", kind=dict)


def test_nothing_else_is_imported(trap):
    with pytest.raises(DataError, match=r"x.ckpt names the class a_trap.X[\s\S]*--trust"):
        trusted_class("a_trap.X", file="x.ckpt", kind=object)
    with pytest.raises(DataError):
        trusted_class("a_trap", file="x.ckpt", kind=object)
    assert not trap.exists()
    assert trusted_class("a_trap.X", file="x.ckpt", kind=object, trust=True) is int
    assert trap.exists()


def test_what_an_installed_package_registers_is_trusted(trap, monkeypatch):
    entry = EntryPoint(name="a", value="a_trap:X", group=trust.STAGES)
    monkeypatch.setattr(trust, "entry_points", lambda group: [entry] if group == trust.STAGES else [])
    assert trusted_class("a_trap.X", file="x", kind=object) is int


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("fusionscope.stages.Nothing", "cannot be imported"),
        ("fusionscope.nothing.Stage", "cannot be imported"),
        ("fusionscope.stages.base.math", "it is no VLMStage"),
        ("fusionscope.errors.DataError", "it is no VLMStage"),
    ],
)
def test_a_path_that_leads_elsewhere_is_a_data_error(path, message):
    with pytest.raises(DataError, match=message):
        trusted_class(path, file="x", kind=VLMStage)
