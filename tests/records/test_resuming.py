"""Where the records of a training that starts belong."""

import shutil
from dataclasses import replace

import pytest

from fusionscope.records import RecordFile, Run, RunDirectory, Stage, Start, join


@pytest.fixture
def record(make_record):
    """``record(place, steps, offset)``: add records of a training."""

    def add(place, steps, offset=0):
        stage = place.attempt.stage
        RecordFile(place.directory.records).append(
            make_record(run=place.run, attempt=place.attempt.attempt, step=offset + s, stage=stage, stage_step=s)
            for s in steps
        )

    return add


def numbers(place):
    return place.attempt.attempt, place.attempt.parent, place.attempt.from_step


def standing(place):
    return [(record.attempt, record.step) for record in RecordFile(place.directory.records).read()]


def fresh(stage="train", **settings):
    return Start(stage=stage, **settings)


def resume(place, step, *, stage="train", **settings):
    return Start(stage=stage, step=step, origin=place.origin(), **settings)


def test_a_first_start_makes_a_run_with_an_id_of_its_own(tmp_path):
    first, other = join(tmp_path / "a", fresh()), join(tmp_path / "b", fresh())
    assert numbers(first) == (1, None, None)
    assert first.run == Run.find(tmp_path / "a").id != other.run
    assert first.outdated_after is None
    assert first.note == ""


def test_a_second_start_is_an_attempt_of_its_own(tmp_path, record):
    first = join(tmp_path, fresh())
    record(first, [0, 5])
    second = join(tmp_path, fresh())
    assert second.run == first.run
    assert numbers(second) == (2, None, None)
    assert second.outdated_after == -1
    record(second, [0])
    assert standing(second) == [(2, 0)]


def test_a_resume_at_the_end_of_what_is_recorded_goes_on_with_its_attempt(tmp_path, record):
    first = join(tmp_path, fresh())
    record(first, [0, 5])
    second = join(tmp_path, resume(first, 5))
    assert second.attempt == first.attempt
    assert second.outdated_after == 5
    assert len(RecordFile(first.directory.records).attempts(first.run)) == 1


def test_a_resume_from_before_that_branches_off(tmp_path, record):
    first = join(tmp_path, fresh())
    record(first, [0, 5, 10])
    second = join(tmp_path, resume(first, 5))
    assert numbers(second) == (2, 1, 5)
    assert second.outdated_after == 5
    record(second, [10])
    assert standing(second) == [(1, 0), (1, 5), (2, 10)]


def test_a_resume_of_a_retired_attempt_at_its_end_branches_off_it(tmp_path, record):
    """The newest attempt is followed: going on with the old one would leave readers on the wrong branch."""
    first = join(tmp_path, fresh())
    record(first, [0, 5])
    record(join(tmp_path, fresh()), [0, 5, 10])
    third = join(tmp_path, resume(first, 5))
    assert numbers(third) == (3, 1, 5)
    record(third, [10])
    assert standing(third) == [(1, 0), (1, 5), (3, 10)]


@pytest.fixture
def staged(tmp_path):
    run = Run(directory=tmp_path, recipe="x", stages=(Stage(name="a"), Stage(name="b"))).save()
    return lambda stage, **settings: join(run.directory, Start(stage=stage, moves=False, **settings))


def test_the_next_stage_goes_on_with_the_attempt(staged, record):
    first = staged("a")
    record(first, [0, 100])
    second = staged("b", offset=100)
    assert (second.run, second.attempt) == (first.run, first.attempt)
    assert second.outdated_after is None


def test_a_stage_begun_again_branches_off_where_it_begins(staged, record):
    record(staged("a"), [0, 100])
    first = staged("b", offset=100)
    record(replace(first, attempt=replace(first.attempt, stage="b")), [0, 5], offset=100)
    again = staged("b", offset=100)
    assert numbers(again) == (2, 1, 100)
    record(again, [0], offset=100)
    records = RecordFile(again.directory.records).read()
    assert [(r.attempt, r.stage, r.step) for r in records] == [(1, "a", 0), (1, "a", 100), (2, "b", 100)]


def test_the_first_stage_begun_again_begins_from_nothing(staged, record):
    record(staged("a"), [0, 5])
    assert numbers(staged("a")) == (2, None, None)


def test_a_renamed_run_is_the_same(tmp_path, record):
    first = join(tmp_path / "old", fresh())
    record(first, [0, 5])
    (tmp_path / "old").rename(tmp_path / "new")
    second = join(tmp_path / "new", resume(first, 5, moves=False))
    assert (second.run, second.attempt, second.note) == (first.run, first.attempt, "")


def test_a_run_is_found_around_the_checkpoint(tmp_path, record):
    """The directory is a default of the trainer's: a new folder, as Lightning's loggers make for every start."""
    first = join(tmp_path / "logs" / "version_0", fresh())
    record(first, [0, 5])
    (tmp_path / "logs").rename(tmp_path / "moved")
    checkpoint = tmp_path / "moved" / "version_0" / "checkpoints" / "last.ckpt"
    second = join(tmp_path / "logs" / "version_1", resume(first, 5, checkpoint=checkpoint))
    assert second.directory == RunDirectory(tmp_path / "moved" / "version_0")
    assert second.attempt == first.attempt
    assert "version_0" in second.note


def test_a_run_is_found_where_it_was(tmp_path, record):
    first = join(tmp_path / "version_0", fresh())
    record(first, [0, 5])
    second = join(tmp_path / "elsewhere" / "version_1", resume(first, 5))
    assert second.directory.path == first.directory.path
    assert not (tmp_path / "elsewhere").exists()


def test_a_run_is_found_beside_where_it_was(tmp_path, record):
    first = join(tmp_path / "a", fresh())
    record(first, [0, 5])
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger" / "run.json").write_text("of another tool")
    (tmp_path / "a").rename(tmp_path / "b")
    second = join(tmp_path / "a", resume(first, 5, moves=False))
    assert second.directory == RunDirectory(tmp_path / "b")
    assert second.attempt == first.attempt


def test_a_copied_run_goes_on_in_the_copy(tmp_path, record):
    first = join(tmp_path / "a", fresh())
    record(first, [0, 5])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    second = join(tmp_path / "new", resume(first, 5, checkpoint=tmp_path / "b" / "checkpoints" / "last.ckpt"))
    assert second.directory == RunDirectory(tmp_path / "b")


def test_another_directory_that_was_asked_for_goes_on_without_the_earlier_records(tmp_path, record):
    first = join(tmp_path / "a", fresh())
    record(first, [0, 5])
    second = join(tmp_path / "b", resume(first, 5, moves=False))
    assert second.directory == RunDirectory(tmp_path / "b")
    assert second.run == first.run
    assert numbers(second) == (2, 1, 5)
    assert str(tmp_path / "a") in second.note
    assert "goes on without them" in second.note


def test_records_that_are_gone_are_missed_and_the_run_keeps_its_id(tmp_path):
    first = join(tmp_path / "a", fresh())
    shutil.rmtree(tmp_path / "a")
    second = join(tmp_path / "new", resume(first, 5))
    assert second.run == first.run
    assert "goes on without them" in second.note


def test_a_checkpoint_of_another_run_is_a_new_attempt_at_the_run_that_is_there(tmp_path, record):
    first, other = join(tmp_path / "a", fresh()), join(tmp_path / "b", fresh())
    record(first, [0, 5])
    record(other, [0, 5])
    third = join(tmp_path / "b", resume(first, 5, moves=False))
    assert third.run == other.run
    assert numbers(third) == (2, None, None)
    assert "begins a new attempt" in third.note


def test_a_checkpoint_that_names_no_records_is_a_new_attempt_and_says_so(tmp_path, record):
    record(join(tmp_path, fresh()), [0, 5])
    second = join(tmp_path, Start(stage="train", step=5))
    assert numbers(second) == (2, None, None)
    assert "does not say" in second.note


def test_a_second_recorder_of_one_training_shares_its_attempt(tmp_path, record):
    """Two callbacks in one trainer: the second goes on from the first one, which may have probed step 0 already."""
    first = join(tmp_path, fresh())
    record(first, [0])
    second = join(tmp_path, resume(first, 0))
    assert second.attempt == first.attempt
