"""Which records stand: one branch, from the newest attempt back through its parents."""

import json
from dataclasses import replace

import pytest

from fusionscope.errors import DataError
from fusionscope.records import Attempt, RecordFile


@pytest.fixture
def file(tmp_path) -> RecordFile:
    return RecordFile(tmp_path / "records.jsonl")


@pytest.fixture
def points(make_record):
    """``points(attempt, steps, stage, offset)``: records of one series and layer."""

    def make(attempt, steps, stage="train", offset=0, **changes):
        return [
            make_record(attempt=attempt, step=step, stage=stage, stage_step=step - offset, **changes) for step in steps
        ]

    return make


def begin(file, attempt, **branch):
    file.open_attempt(Attempt(run="run", attempt=attempt, started="2026-01-01T00:00:00+00:00", **branch))


def places(records):
    return [(record.attempt, record.stage, record.step) for record in records]


def steps(records):
    return [(record.attempt, record.step) for record in records]


def test_a_file_without_attempts_is_one(file, points):
    file.append(points(1, [0, 5]))
    assert steps(file.read()) == [(1, 0), (1, 5)]
    assert file.attempts("run") == [Attempt(run="run", attempt=1)]


def test_a_start_from_nothing_retires_all(file, points):
    begin(file, 1)
    file.append(points(1, [0, 5, 10]))
    begin(file, 2)
    file.append(points(2, [0, 5]))
    assert steps(file.read()) == [(2, 0), (2, 5)]
    assert len(file.read(every=True)) == 5


def test_a_start_that_recorded_nothing_retires_nothing(file, points):
    begin(file, 1)
    file.append(points(1, [0, 5]))
    begin(file, 2)
    assert steps(file.read()) == [(1, 0), (1, 5)]


def test_a_branch_keeps_its_parents_up_to_where_it_leaves_them(file, points):
    begin(file, 1)
    file.append(points(1, [0, 5, 10, 15]))
    begin(file, 2, parent=1, from_step=10, stage="train", stage_step=10)
    file.append(points(2, [15, 20]))
    begin(file, 3, parent=2, from_step=15, stage="train", stage_step=15)
    file.append(points(3, [20]))
    begin(file, 4, parent=1, from_step=5, stage="train", stage_step=5)
    assert steps(file.read()) == [(1, 0), (1, 5), (1, 10), (2, 15), (3, 20)]
    file.append(points(4, [10]))
    assert steps(file.read()) == [(1, 0), (1, 5), (4, 10)]
    assert steps(file.branch("run", 2)) == [(1, 0), (1, 5), (1, 10), (2, 15), (2, 20)]


def test_a_grandparent_is_cut_by_every_later_branch(file, points):
    begin(file, 1)
    file.append(points(1, [0, 5, 10]))
    begin(file, 2, parent=1, from_step=10, stage="train", stage_step=10)
    file.append(points(2, [15]))
    begin(file, 3, parent=2, from_step=5, stage="train", stage_step=5)
    file.append(points(3, [20]))
    assert steps(file.read()) == [(1, 0), (1, 5), (3, 20)]


def test_of_a_step_probed_again_the_newer_attempt_holds(file, points):
    """A checkpoint that is saved before its step is probed."""
    begin(file, 1)
    file.append(points(1, [0, 5, 10], synergy=1.0))
    begin(file, 2, parent=1, from_step=5, stage="train", stage_step=5)
    file.append(points(2, [5, 10], synergy=2.0))
    assert [(record.step, record.synergy) for record in file.read()] == [(0, 1.0), (5, 2.0), (10, 2.0)]


@pytest.fixture
def two_stages(file, points):
    begin(file, 1)
    file.append(points(1, [0, 100], stage="a"))
    file.append(points(1, [100, 150], stage="b", offset=100))
    return file


def test_a_stage_begun_again_keeps_the_end_of_the_one_before_and_none_of_its_own(two_stages, points):
    begin(two_stages, 2, parent=1, from_step=100, stage="b", stage_step=None)
    two_stages.append(points(2, [100, 150], stage="b", offset=100))
    assert places(two_stages.read()) == [(1, "a", 0), (1, "a", 100), (2, "b", 100), (2, "b", 150)]


def test_a_stage_that_goes_on_from_its_start_keeps_its_first_step(two_stages, points):
    begin(two_stages, 2, parent=1, from_step=100, stage="b", stage_step=0)
    two_stages.append(points(2, [150], stage="b", offset=100))
    assert places(two_stages.read()) == [(1, "a", 0), (1, "a", 100), (1, "b", 100), (2, "b", 150)]


def test_a_stage_that_goes_on_from_its_end_keeps_nothing_of_the_next(two_stages, points):
    begin(two_stages, 2, parent=1, from_step=100, stage="a", stage_step=100)
    two_stages.append(points(2, [120], stage="a"))
    assert places(two_stages.read()) == [(1, "a", 0), (1, "a", 100), (2, "a", 120)]


def test_runs_in_one_file_do_not_retire_each_other(file, points):
    file.append(points(1, [0, 5], run="other"))
    begin(file, 1)
    begin(file, 2)
    file.append(points(2, [0]))
    assert [(record.run, record.attempt) for record in file.read()] == [("other", 1), ("other", 1), ("run", 2)]


def test_records_added_later_belong_to_the_attempt_that_has_their_step(file, points):
    assert file.attempt_at("run", 7) == 1
    begin(file, 1)
    file.append(points(1, [0, 10]))
    begin(file, 2)
    file.append(points(2, [0, 10, 20]))
    begin(file, 3, parent=2, from_step=10, stage="train", stage_step=10)
    file.append(points(3, [15]))
    assert [file.attempt_at("run", step) for step in (0, 10, 11, 99)] == [2, 2, 3, 3]
    assert file.attempt_at("of nobody", 0) == 1


def test_the_history_counts_what_was_retired(file, points):
    begin(file, 1)
    file.append(points(1, [0, 5, 10]))
    begin(file, 2, parent=1, from_step=5, stage="train", stage_step=5)
    file.append(points(2, [10, 15]))
    begin(file, 3)
    history = file.history()
    assert [(past.attempt.attempt, past.records, past.retired) for past in history] == [(1, 3, 1), (2, 2, 0), (3, 0, 0)]
    assert [(past.first_step, past.last_step) for past in history] == [(0, 10), (10, 15), (None, None)]


def test_a_parent_that_is_not_in_the_file_ends_the_branch(file, points):
    begin(file, 4, parent=3, from_step=50, stage="train", stage_step=50)
    file.append(points(4, [60]))
    assert steps(file.read()) == [(4, 60)]


def test_a_file_is_read_on_and_not_again(file, points, monkeypatch):
    file.append(points(1, [0]))
    assert steps(file.read()) == [(1, 0)]
    parsed = []
    original = json.loads
    monkeypatch.setattr(json, "loads", lambda line: parsed.append(line) or original(line))
    RecordFile(file.path).append(points(1, [5]))  # by another process
    assert steps(file.read()) == [(1, 0), (1, 5)]
    assert file.read() == file.read()
    assert len(parsed) == 1


def test_a_file_that_was_replaced_is_read_anew(file, points):
    file.append(points(1, [0, 5]))
    assert len(file.read()) == 2
    other = RecordFile(file.path.with_name("other.jsonl"))
    other.append(points(1, [7, 8, 9]))
    other.path.replace(file.path)
    assert steps(file.read()) == [(1, 7), (1, 8), (1, 9)]
    file.path.unlink()
    assert file.read() == []


@pytest.mark.parametrize("change", [{"schema": 99}, {"colour": "red"}])
def test_a_line_that_is_no_attempt_is_named(file, change):
    begin(file, 1)
    file.path.write_text(json.dumps(json.loads(file.path.read_text()) | change) + "\n")
    with pytest.raises(DataError, match=r"records\.jsonl, line 1: an attempt of schema"):
        file.read()


def test_an_attempt_comes_back_as_it_was_written(file):
    attempt = Attempt(run="run", attempt=2, parent=1, from_step=3, stage="b", stage_step=1, started="now")
    file.open_attempt(attempt)
    assert file.attempts("run") == [attempt]
    assert file.attempts("run") != [replace(attempt, parent=None)]
