import pytest

from fusionscope.errors import RunDirectoryError
from fusionscope.records import Run, Stage


def make(directory) -> Run:
    stages = (Stage(name="0_a"), Stage(name="1_b"), Stage(name="2_c"))
    return Run(directory=directory, recipe="x", digest="d", seed=None, stages=stages)


def test_steps_add_up_over_stages(tmp_path):
    run = make(tmp_path).start("0_a").finish("0_a", 30).start("1_b")
    assert (run.current.name, run.current.step_offset) == ("1_b", 30)
    run = run.finish("1_b", 12).start("2_c")
    assert run.current.step_offset == 42


def test_a_saved_run_is_found_again(tmp_path):
    saved = make(tmp_path / "run").start("0_a").save()
    assert Run.find(tmp_path / "run") == saved
    assert saved.name == "run"


def test_there_is_no_run_in_an_empty_directory(tmp_path):
    assert Run.find(tmp_path) is None


def test_an_unreadable_run_names_its_file(tmp_path):
    (tmp_path / "run.json").write_text('{"schema": 7}')
    with pytest.raises(RunDirectoryError, match=r"run\.json.*another schema"):
        Run.find(tmp_path)
