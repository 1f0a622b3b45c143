"""Several trainings in one folder, and one training over several starts."""

import shutil

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fusionscope.callbacks import Schedule, ScheduledCheckpoint
from fusionscope.probe import ProbeSpec
from fusionscope.records import RecordFile, Run, RunDirectory

EVERY_2 = Schedule(every_n_steps=2, at_end=False)
TAG = "pid_sandbox.synergy.crossed/synergy"


class RunLogger(Logger):
    """As WandbLogger: a folder for all runs, the working directory by default, and an identity that it keeps itself."""

    name = "project"
    version = "abc123"
    save_dir = "."

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass


@pytest.fixture
def train(fit, callback):
    """``train(directory=..., steps=..., **settings)``: probed at every second step, saved at every one."""

    def run(steps=2, callbacks=None, *, spec=None, pid=None, **settings):
        saver = ScheduledCheckpoint(Schedule(every_n_steps=1))
        pid = pid or callback(schedule=EVERY_2, spec=spec or ProbeSpec(layers="last"))
        return fit([pid, saver, *(callbacks or ())], max_steps=steps, enable_checkpointing=True, **settings)

    return run


def attempts(directory):
    return [(record.attempt, record.step) for record in RecordFile(directory / "records.jsonl").read()]


def drawn(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return [event.step for event in events.Scalars(TAG)]


def test_two_trainings_in_one_folder_are_two_attempts(train, tmp_path):
    train(steps=4)
    train(steps=2)
    assert attempts(tmp_path) == [(2, 0), (2, 2)]
    file = RecordFile(tmp_path / "records.jsonl")
    assert len(file.read(every=True)) == 5
    assert {record.run for record in file.read(every=True)} == {Run.find(tmp_path).id}
    assert [(past.records, past.retired) for past in file.history()] == [(3, 3), (2, 0)]
    assert drawn(tmp_path / "tensorboard") == [0, 2]


def test_two_trainings_with_one_callback_are_two_attempts(train, callback, tmp_path):
    pid = callback(schedule=EVERY_2, spec=ProbeSpec(layers="last"))
    train(pid=pid)
    train(pid=pid)
    assert attempts(tmp_path) == [(2, 0), (2, 2)]


def test_two_trainings_of_a_logger_without_a_folder_for_each_are_two_attempts(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(logger=RunLogger(), directory=tmp_path / "a")
    train(logger=RunLogger(), directory=tmp_path / "b")
    assert attempts(tmp_path) == [(2, 0), (2, 2)]


def test_two_trainings_in_the_directory_of_a_callback_are_two_attempts(train, callback, tmp_path):
    for root in ("a", "b"):
        pid = callback(schedule=EVERY_2, spec=ProbeSpec(layers="last"), directory=str(tmp_path / "here"))
        train(pid=pid, directory=tmp_path / root)
    assert attempts(tmp_path / "here") == [(2, 0), (2, 2)]


def test_two_trainings_in_one_board_show_the_second(train, tmp_path):
    for steps in (4, 2):
        train(steps=steps, logger=TensorBoardLogger(tmp_path, name="", version="tb"))
    assert attempts(tmp_path / "tb") == [(2, 0), (2, 2)]
    assert drawn(tmp_path / "tb") == [0, 2]


def test_a_resume_from_an_earlier_checkpoint_branches_off(train, tmp_path):
    train(steps=6)
    last = tmp_path / "checkpoints" / "last.ckpt"
    train(steps=8, ckpt_path=last)
    assert attempts(tmp_path) == [(1, 0), (1, 2), (1, 4), (1, 6), (1, 8)]


def test_what_was_recorded_after_the_checkpoint_is_retired(fit, callback, tmp_path):
    def go(**settings):
        saver = ScheduledCheckpoint(Schedule(every_n_steps=3, at_start=False, at_end=False))
        pid = callback(schedule=EVERY_2, spec=ProbeSpec(layers="last"))
        fit([pid, saver], enable_checkpointing=True, **settings)

    go(max_steps=5)
    go(max_steps=6, ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert attempts(tmp_path) == [(1, 0), (1, 2), (2, 4), (2, 6)]
    assert len(RecordFile(tmp_path / "records.jsonl").read(every=True)) == 5
    assert drawn(tmp_path / "tensorboard") == [0, 2, 4, 6]


def test_a_folder_renamed_between_stop_and_resume_changes_nothing(train, tmp_path):
    train(steps=2, directory=tmp_path / "old")
    identity = Run.find(tmp_path / "old").id
    (tmp_path / "old").rename(tmp_path / "new")
    train(steps=4, directory=tmp_path / "new", ckpt_path=tmp_path / "new" / "checkpoints" / "last.ckpt")
    assert attempts(tmp_path / "new") == [(1, 0), (1, 2), (1, 4)]
    assert {record.run for record in RecordFile(tmp_path / "new" / "records.jsonl").read()} == {identity}
    assert drawn(tmp_path / "new" / "tensorboard") == [0, 2, 4]
    assert not (tmp_path / "old").exists()


def test_lightnings_own_folder_for_every_start_does_not_split_a_run(train, tmp_path):
    train(steps=2, logger=TensorBoardLogger(tmp_path))
    train(steps=4, logger=TensorBoardLogger(tmp_path), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    logs = tmp_path / "lightning_logs"
    assert attempts(logs / "version_0") == [(1, 0), (1, 2), (1, 4)]
    assert not (logs / "version_1" / "records.jsonl").exists()
    assert drawn(logs / "version_1") == [0, 2, 4]


def test_a_resumed_run_of_a_logger_without_a_folder_goes_on(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(steps=2, logger=RunLogger())
    train(steps=4, logger=RunLogger(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert attempts(tmp_path) == [(1, 0), (1, 2), (1, 4)]


def test_a_resume_with_other_tasks_or_settings_goes_on_with_the_run(train, tmp_path):
    """Lightning loads the state of a callback only where its settings are those that were saved."""
    train(steps=2)
    settings = {"spec": ProbeSpec(layers="last", seed=1), "ckpt_path": tmp_path / "checkpoints" / "last.ckpt"}
    train(steps=4, **settings)
    assert attempts(tmp_path) == [(1, 0), (1, 2), (1, 4)]


def test_a_fit_that_goes_on_in_the_same_trainer_goes_on_with_the_run(train, tmp_path):
    module, trainer = train(steps=-1, limit_train_batches=2)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, trainer.train_dataloader)
    assert attempts(tmp_path) == [(1, 0), (1, 2), (1, 4)]


def test_callbacks_of_one_trainer_record_one_attempt(train, callback, tmp_path):
    def other():
        return callback(schedule=EVERY_2, spec=ProbeSpec(layers="last", design="learned"))

    train(steps=4, callbacks=[other()])
    file = RecordFile(tmp_path / "records.jsonl")
    assert [(record.attempt, record.step, record.variant) for record in file.read()] == [
        (1, step, variant) for step in (0, 2, 4) for variant in ("crossed", "learned")
    ]
    train(steps=2, callbacks=[other()])
    assert {(record.attempt, record.step) for record in file.read()} == {(2, 0), (2, 2)}
    assert len(file.history()) == 2
    assert drawn(tmp_path / "tensorboard") == [0, 2]


def test_a_trial_run_leaves_nothing(fit, callback, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root").mkdir()
    saver = ScheduledCheckpoint(Schedule(every_n_steps=1))
    _, trainer = fit([callback(), saver], fast_dev_run=2, directory=tmp_path / "root", enable_checkpointing=True)
    assert TAG in trainer.callback_metrics
    assert list(tmp_path.rglob("*")) == [tmp_path / "root"]


def test_a_start_that_fails_before_its_first_step_leaves_no_attempt(fit, callback, tmp_path):
    from fusionscope.errors import UnknownNameError

    with pytest.raises(UnknownNameError):
        fit([callback(spec=ProbeSpec(layers=[9]))])
    assert not RunDirectory(tmp_path).run.exists()
    assert not RunDirectory(tmp_path).records.exists()


def test_checkpoints_say_where_their_records_were(train, tmp_path):
    """Records that are gone are missed; the run keeps its id and branches off what it had."""
    train(steps=2, directory=tmp_path / "a")
    identity = Run.find(tmp_path / "a").id
    shutil.move(tmp_path / "a" / "checkpoints", tmp_path / "kept")
    shutil.rmtree(tmp_path / "a")
    train(steps=4, directory=tmp_path / "b", ckpt_path=tmp_path / "kept" / "last.ckpt")
    assert attempts(tmp_path / "b") == [(2, 4)]
    assert Run.find(tmp_path / "b").id == identity
