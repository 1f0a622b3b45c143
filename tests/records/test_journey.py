import pytest

from fusionscope.errors import RunDirectoryError
from fusionscope.records import Journey, Stage


def make(directory) -> Journey:
    stages = (Stage(name="0_a"), Stage(name="1_b"), Stage(name="2_c"))
    return Journey(directory=directory, recipe="x", digest="d", seed=None, stages=stages)


def test_steps_add_up_over_stages(tmp_path):
    journey = make(tmp_path).start("0_a").finish("0_a", 30).start("1_b")
    assert (journey.current.name, journey.current.step_offset) == ("1_b", 30)
    journey = journey.finish("1_b", 12).start("2_c")
    assert journey.current.step_offset == 42


def test_a_saved_journey_is_found_again(tmp_path):
    saved = make(tmp_path / "run").start("0_a").save()
    assert Journey.find(tmp_path / "run") == saved
    assert saved.name == "run"


def test_there_is_no_journey_in_an_empty_directory(tmp_path):
    assert Journey.find(tmp_path) is None


def test_an_unreadable_journey_names_its_file(tmp_path):
    (tmp_path / "journey.json").write_text('{"schema": 7}')
    with pytest.raises(RunDirectoryError, match=r"journey\.json.*another schema"):
        Journey.find(tmp_path)
