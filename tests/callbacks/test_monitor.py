"""What every trainer's callback shares: settings named before training, one callback for several runs."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from fusionscope.callbacks import PIDCallback, Schedule
from fusionscope.errors import ConfigError, UnknownNameError
from fusionscope.lvlm import FeatureCache
from fusionscope.probe import Execution, ProbeSpec
from fusionscope.records import RecordFile


def test_a_feature_cache_can_be_given(fit, callback, task):
    cache = FeatureCache()
    fit([callback(schedule=Schedule(every_n_steps=8), execution=Execution(feature_cache=cache))])
    assert cache.misses == 2 * len(task.images), "asked by the probes of steps 0 and 8"


def test_what_a_task_cannot_be_probed_for_is_refused_before_training(callback):
    with pytest.raises(ConfigError, match="estimator 'faithful'"):
        callback(spec=ProbeSpec(estimator="faithful"))
    with pytest.raises(UnknownNameError, match="law 'strata'"):
        callback(spec=ProbeSpec(laws="strata"))


def test_a_callback_that_served_one_run_serves_the_next(fit, callback, tmp_path, steps):
    pid = callback(schedule=Schedule(every_n_steps=8, at_start=False))
    for run in ("first", "second"):
        fit([pid], directory=tmp_path / run)
        assert steps(tmp_path / run) == [8]
    assert pid.state_dict()["cost"]["probes"] == 1


def test_checkpoints_that_no_callback_hears_of_are_an_error(fit, callback, tmp_path):
    schedule = Schedule(at_checkpoints=True, at_start=False, at_end=False)
    saver = ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=3, save_top_k=-1, save_weights_only=True)
    with pytest.raises(ConfigError, match="save_weights_only=True"):
        fit([callback(schedule=schedule), saver], enable_checkpointing=True)


def test_states_are_found_again_whatever_objects_the_settings_hold(callback):
    keys = {callback(execution=Execution(feature_cache=FeatureCache())).state_key for _ in range(2)}
    assert len(keys) == 1


class Opened(Sequence):
    """Pictures that count how often one is opened."""

    def __init__(self, images):
        self.images, self.times = images, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        self.times += 1
        return self.images[i]


def test_pictures_are_tried_once_a_run_and_not_at_every_probe(fit, task):
    images = Opened(list(task.images))
    settings = {"model": "net.vlm", "processor": fit.processor, "progress": False}
    schedule = Schedule(every_n_steps=4)
    fit([PIDCallback([replace(task, images=images)], schedule=schedule, spec=ProbeSpec(max_bad_images=2), **settings)])
    assert images.times == (2 + 3) * len(images), "tried and hashed before, and by three probes of a tower that learns"


def test_a_probe_that_failed_does_not_count_as_done(fit, callback, monkeypatch):
    pid = callback()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordFile, "append", full)
    with pytest.raises(OSError, match="No space left"):
        fit([pid])
    assert pid.state_dict()["probed_at"] == -1
