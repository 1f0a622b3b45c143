from dataclasses import replace

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fusionscope.callbacks import PIDCallback, Schedule, ScheduledCheckpoint
from fusionscope.errors import ConfigError, UnknownNameError
from fusionscope.probe import ProbeSpec
from fusionscope.records import ATOMS, RecordFile, Run, Stage

OFF = Schedule(every_n_steps=10**6, at_start=False, at_end=False)


def test_training_is_bit_identical_with_and_without(fit, callback):
    bare, _ = fit()
    probed, _ = fit([callback(schedule=Schedule(every_n_steps=1))])
    assert probed.losses == bare.losses
    assert len(bare.losses) == 8
    for (name, ours), theirs in zip(probed.state_dict().items(), bare.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_the_model_is_left_as_found(fit, callback):
    bare, _ = fit()
    module, _ = fit([callback(schedule=Schedule(every_n_steps=4))])
    assert all(part.training for part in module.net.modules())
    assert all(parameter.requires_grad for parameter in module.parameters())
    hooks = [[len(p._forward_hooks) + len(p._forward_pre_hooks) for p in m.net.modules()] for m in (module, bare)]
    assert hooks[0] == hooks[1]


def test_probes_come_on_schedule_for_every_layer(fit, callback, tmp_path, steps):
    fit([callback(schedule=Schedule(every_n_steps=3, log_spaced=2.0))])
    assert steps(tmp_path) == [0, 1, 2, 3, 6, 8]
    records = RecordFile(tmp_path / "records.jsonl").read()
    assert {record.layer for record in records} == {0, 1, 2, 3, 4}
    assert all(abs(sum(record.atoms.values()) - record.total) < 1e-6 for record in records)


def test_the_axis_counts_optimizer_steps_not_batches(fit, callback, tmp_path, steps):
    fit([callback(schedule=Schedule(every_n_steps=1))], accumulate_grad_batches=4)
    assert steps(tmp_path) == [0, 1, 2]


def test_every_checkpoint_is_probed_once_whoever_saves_it(fit, callback, tmp_path, steps):
    schedule = Schedule(at_checkpoints=True, at_start=False, at_end=False)
    saver = ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=3, save_top_k=-1, save_last=True)
    fit([callback(schedule=schedule), saver], enable_checkpointing=True)
    saved = sorted(int(path.stem.split("step=")[1]) for path in (tmp_path / "ckpt").glob("*step=*.ckpt"))
    assert steps(tmp_path) == saved


def test_a_checkpoint_saved_when_training_ends_is_probed_too(fit, callback, tmp_path, steps):
    """Checkpoint callbacks run last: the checkpoint of the end is saved when every other callback was told of it."""
    schedule = Schedule(at_checkpoints=True, at_start=False, at_end=False)
    saver = ScheduledCheckpoint(Schedule(every_n_steps=5, at_start=False))
    fit([callback(schedule=schedule), saver], enable_checkpointing=True)
    assert steps(tmp_path) == [5, 8]


def test_a_run_gives_stage_and_offset(fit, callback, tmp_path, steps):
    stages = (Stage(name="0_a"), Stage(name="1_b"))
    Run(directory=tmp_path, recipe="x", digest="d", seed=None, stages=stages).start("0_a").finish("0_a", 100).start(
        "1_b"
    ).save()
    fit([callback(schedule=Schedule(every_n_steps=4))])
    records = RecordFile(tmp_path / "records.jsonl").read()
    assert steps(tmp_path) == [100, 104, 108]
    assert {(record.stage, record.step - record.stage_step) for record in records} == {("1_b", 100)}


def test_a_resumed_run_goes_on_with_its_curves(fit, callback, tmp_path, steps):
    schedule = Schedule(every_n_steps=2)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fit([callback(schedule=schedule), ScheduledCheckpoint(OFF)], directory=whole, enable_checkpointing=True)
    saver = ScheduledCheckpoint(Schedule(every_n_steps=5, at_start=False, at_end=False))
    fit([callback(schedule=schedule), saver], directory=cut, max_steps=6, enable_checkpointing=True)
    fit(
        [callback(schedule=schedule), saver],
        directory=cut,
        ckpt_path=cut / "checkpoints" / "last.ckpt",
        enable_checkpointing=True,
    )
    assert steps(cut) == steps(whole) == [0, 2, 4, 6, 8]


def test_scalars_and_pictures_are_in_the_trainers_tensorboard(fit, callback, tmp_path):
    logger = TensorBoardLogger(tmp_path, name="", version="tb")
    fit([callback(schedule=Schedule(every_n_steps=4))], logger=logger)
    events = EventAccumulator(str(tmp_path / "tb"), size_guidance={"scalars": 0, "images": 0}).Reload()
    name = "sandbox.synergy.crossed"
    for atom in ATOMS:
        assert [event.step for event in events.Scalars(f"pid_{name}/{atom}")] == [0, 4, 8]
        assert len(events.Scalars(f"pid_layers_{name}/{atom}_layer_02")) == 3
    assert {f"pid_depth_{name}/{atom}" for atom in ATOMS} == set(events.Tags()["images"])
    assert "custom_scalars__config__" in events.Tags()["tensors"]
    records = [r for r in RecordFile(tmp_path / "tb" / "records.jsonl").read() if r.layer == r.n_layers]
    drawn = [event.value for event in events.Scalars(f"pid_{name}/synergy")]
    assert drawn == pytest.approx([record.synergy for record in records], abs=1e-6)


def test_what_the_probes_cost_is_drawn_kept_and_said(fit, callback, tmp_path, caplog):
    logger = TensorBoardLogger(tmp_path, name="", version="tb")
    pid = callback(schedule=Schedule(every_n_steps=4))
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        fit([pid], logger=logger)
    events = EventAccumulator(str(tmp_path / "tb"), size_guidance={"scalars": 0}).Reload()
    records = [r for r in RecordFile(tmp_path / "tb" / "records.jsonl").read() if r.layer == r.n_layers]
    assert [event.value for event in events.Scalars("pid_cost/tokens")] == [record.tokens for record in records]
    cost, tokens = pid.state_dict()["cost"], sum(record.tokens for record in records)
    assert (cost["probes"], cost["tokens"]) == (3, tokens)
    assert sum(record.seconds for record in records) <= cost["seconds"] < cost["elapsed"]
    assert f"3 probes took {tokens:,} tokens" in caplog.text


def test_other_loggers_get_the_last_layer(fit, callback, tmp_path):
    logger = CSVLogger(tmp_path, name="", version="csv")
    fit([callback(schedule=Schedule(every_n_steps=4))], logger=logger)
    assert "pid_sandbox.synergy.crossed/synergy" in (tmp_path / "csv" / "metrics.csv").read_text()


def test_atoms_can_be_monitored(fit, callback):
    _, trainer = fit([callback(schedule=Schedule(every_n_steps=4))])
    assert "pid_sandbox.synergy.crossed/synergy" in trainer.callback_metrics


def test_a_layer_that_does_not_exist_stops_before_training(fit, callback):
    with pytest.raises(UnknownNameError, match=r"layers \(0, 9\)"):
        fit([callback(spec=ProbeSpec(layers=[0, 9]))])


def test_an_unknown_task_stops_at_once():
    with pytest.raises(UnknownNameError, match=r"^task 'sandbax'\s+Why: known are custom, .*sandbox"):
        PIDCallback(["sandbax/synergy"])


def test_a_module_without_a_known_model_is_told_what_to_do(fit, task):
    with pytest.raises(ConfigError, match=r'PIDCallback\(model="vlm", processor=processor\)'):
        fit([PIDCallback([task])])
    with pytest.raises(ConfigError, match="without processor"):
        fit([PIDCallback([task], model="net.vlm")])
    with pytest.raises(ConfigError, match=r"(?s)no attribute 'vlm'.*its modules are net"):
        fit([PIDCallback([task], model="vlm", processor=fit.processor)])


def test_callbacks_of_different_settings_keep_states_apart(callback, task):
    assert callback().state_key != callback(spec=ProbeSpec(design="learned")).state_key
    assert callback().state_key == callback().state_key
    assert PIDCallback([replace(task, name="other")]).state_key != PIDCallback([task]).state_key
