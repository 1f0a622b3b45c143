import os
from pathlib import Path

from fusionscope.records import RunDirectory, StageDirectory


def test_every_path_of_a_run_lies_in_it(tmp_path):
    directory = RunDirectory(tmp_path / "demo")
    assert directory.name == "demo"
    paths = [
        directory.run,
        directory.records,
        directory.worker_records(3),
        directory.tensorboard,
        directory.report,
        directory.figures,
        directory.probes.records,
        directory.part("model").report,
        directory.profile,
        directory.table("profile", "csv"),
        directory.stage("0_a").config,
        directory.stage("0_a").model,
        directory.stage("0_a").last,
        directory.stage("0_a").checkpoint(7),
    ]
    assert all(path.is_relative_to(tmp_path / "demo") for path in paths)
    assert len(set(paths)) == len(paths)
    assert os.fspath(directory) == str(directory) == str(tmp_path / "demo")


def test_a_run_without_stages_has_a_stages_files_itself(tmp_path):
    assert RunDirectory(tmp_path).stage() == StageDirectory(tmp_path)


def test_a_checkpoint_knows_its_stage(tmp_path):
    stage = RunDirectory(tmp_path).stage("0_a")
    assert StageDirectory.of_checkpoint(stage.checkpoint(7)) == stage


def test_saved_steps_are_in_order_and_leave_out_what_is_resumed_from(tmp_path):
    stage = StageDirectory(tmp_path)
    stage.checkpoints.mkdir()
    for path in (stage.last, stage.checkpoint(12), stage.checkpoint(3)):
        path.touch()
    assert stage.saved_steps() == [stage.checkpoint(3), stage.checkpoint(12)]


def test_the_files_of_workers_are_found(tmp_path):
    directory = RunDirectory(tmp_path)
    for number in (1, 0):
        directory.worker_records(number).touch()
    directory.records.touch()
    assert directory.all_worker_records() == [directory.worker_records(0), directory.worker_records(1)]


def test_a_relative_directory_has_the_name_of_where_it_is(tmp_path, monkeypatch):
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path / "demo")
    assert RunDirectory().name == "demo"
    assert RunDirectory().records == Path("records.jsonl")
