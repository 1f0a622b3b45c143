"""What a stage trains, how it averages, and how it stops."""

import copy
import csv

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from fusionscope.errors import ConfigError, UnknownNameError
from fusionscope.lvlm import PartTable, parameters_by_part
from fusionscope.parallel import total
from fusionscope.stages import (
    AlignmentPretraining,
    LoraSettings,
    NonFiniteLossError,
    PartConfig,
    VisualInstructionTuning,
)

FULL = PartConfig(tune="full", lr=1e-2)


def weights(stage):
    return {name: value.detach().clone() for name, value in stage.state_dict().items()}


def changed(stage, before):
    return {name for name, value in stage.state_dict().items() if not torch.equal(value, before[name])}


def test_alignment_trains_the_projector_alone(tiny, fit):
    stage = AlignmentPretraining(tiny)
    stage.configure_model()
    before = weights(stage)
    fit(stage, n=8)
    assert changed(stage, before) == {name for name in before if ".multi_modal_projector." in name}


def test_frozen_parts_are_in_evaluation_mode_without_gradient(tiny):
    stage = AlignmentPretraining(tiny)
    stage.configure_model()
    modes = {name: module.training for name, module in stage.network.named_modules()}
    assert not modes["model.vision_tower"]
    assert not modes["model.language_model.layers.0.mlp"]
    assert modes["model.multi_modal_projector.linear_1"]
    assert {name for name, p in stage.network.named_parameters() if p.requires_grad} == {
        f"model.multi_modal_projector.linear_{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")
    }


def test_each_part_has_its_learning_rate_and_vectors_no_decay(tiny):
    stage = VisualInstructionTuning(
        tiny,
        projector=PartConfig(tune="full", lr=1e-4),
        language_model=PartConfig(tune="full", lr=3e-5),
        weight_decay=0.1,
    )
    stage.configure_model()
    groups = {group["name"]: group for group in stage.parameter_groups()}
    assert {name: (g["lr"], g["weight_decay"]) for name, g in groups.items()} == {
        "projector": (1e-4, 0.1),
        "projector_vectors": (1e-4, 0.0),
        "language_model": (3e-5, 0.1),
        "language_model_vectors": (3e-5, 0.0),
    }
    grouped = sum(len(group["params"]) for group in groups.values())
    assert grouped == sum(p.requires_grad for p in stage.parameters())
    assert any(p is stage.network.lm_head.weight for p in groups["language_model"]["params"])


@pytest.mark.parametrize("clip", [None, 0.05])
def test_accumulation_gives_the_same_update(tiny, fit, clip):
    """Eight samples in 1, 2 or 8 micro-batches, whose samples have one to three supervised words each."""
    updates = []
    for pieces in (1, 2, 8):
        stage = VisualInstructionTuning(tiny, projector=FULL, language_model=FULL, warmup_steps=0)
        stage.configure_model()
        stage.configure_optimizers = lambda stage=stage: torch.optim.SGD(
            [{**group, "lr": 0.1} for group in stage.parameter_groups()]
        )
        before = weights(stage)
        fit(stage, n=8, batch_size=8 // pieces, accumulate_grad_batches=pieces, gradient_clip_val=clip)
        assert stage.global_step == 1
        updates.append({name: value - before[name] for name, value in stage.state_dict().items()})
    assert max(update.abs().max() for update in updates[0].values()) > 1e-4
    for other in updates[1:]:
        assert max((other[name] - value).abs().max() for name, value in updates[0].items()) < 1e-6


def test_the_update_is_that_of_the_mean_token_loss(tiny, fit, toy):
    stage = AlignmentPretraining(tiny)
    stage.configure_model()
    reference = copy.deepcopy(stage.network)
    stage.configure_optimizers = lambda: torch.optim.SGD([{**g, "lr": 1.0} for g in stage.parameter_groups()])
    trainer = fit(stage, n=8, batch_size=8)
    batch = trainer.datamodule.train_dataloader().collate_fn.collate([toy()[i] for i in range(8)])
    loss = reference(**batch).loss  # transformers' own mean over supervised tokens
    loss.backward()
    expected = {name: p.detach() - p.grad for name, p in reference.named_parameters() if p.grad is not None}
    for name, value in expected.items():
        torch.testing.assert_close(stage.network.get_parameter(name).detach(), value, atol=1e-6, rtol=1e-5)


def test_a_non_finite_loss_stops_before_the_update(tiny, fit):
    stage = AlignmentPretraining(tiny)
    stage.configure_model()
    with torch.no_grad():
        stage.network.lm_head.weight[0, 0] = float("nan")
    before = weights(stage)
    with pytest.raises(NonFiniteLossError, match="optimizer step 1 is nan"):
        fit(stage, n=8)
    assert {name for name in changed(stage, before) if name != "network.lm_head.weight"} == set()


def test_weights_that_an_earlier_update_ruined_are_told_from_a_bad_batch(tiny, fit):
    class Overflow(L.Callback):
        def on_after_backward(self, trainer, pl_module):
            next(p for p in pl_module.parameters() if p.grad is not None).grad.flatten()[0] = float("inf")

    stage = AlignmentPretraining(tiny, warmup_steps=0)
    with pytest.raises(NonFiniteLossError, match=r"(?s)optimizer step 2 is nan.*an earlier update"):
        fit(stage, n=8, callbacks=[Overflow()])


def test_unknown_settings_are_refused(tiny):
    for name, value in (("warmup_ratio", 3.0), ("min_lr_ratio", -0.1), ("warmup_steps", -1)):
        with pytest.raises(ConfigError, match=f"{name}={value}"):
            AlignmentPretraining(tiny, **{name: value})
    with pytest.raises(ConfigError, match="tune='half'"):
        PartConfig(tune="half", lr=1.0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="lr=None"):
        PartConfig(tune="full")
    with pytest.raises(ConfigError, match="every part is frozen"):
        AlignmentPretraining(tiny, projector=PartConfig())
    with pytest.raises(ConfigError, match="dtype='float8'"):
        AlignmentPretraining(tiny, dtype="float8").configure_model()
    with pytest.raises(ConfigError, match="matches no linear layer"):
        VisualInstructionTuning(
            tiny, language_model=PartConfig(tune="lora", lr=1e-3), lora=LoraSettings(targets="nothing_like_it")
        ).configure_model()


def test_a_model_of_unknown_type_is_refused():
    with pytest.raises(UnknownNameError, match=r"Linear has no config\.model_type"):
        parameters_by_part(torch.nn.Linear(1, 1))
    with pytest.raises(UnknownNameError, match="belongs to no part"):
        PartTable(vision_tower=(), projector=(), language_model=("lm_head",)).part_of("model.novelty.weight")


def test_steps_are_optimizer_steps_and_speed_is_logged(tiny, fit):
    stage = AlignmentPretraining(tiny)
    trainer = fit(stage, n=16, batch_size=2, accumulate_grad_batches=4, log_every_n_steps=1)
    assert trainer.global_step == stage.optimizer_steps == 2
    metrics = trainer.callback_metrics
    assert metrics["step"] == 2
    assert metrics["train/tokens_per_second"] > 0
    assert metrics["train/lr/projector"] > 0


def test_the_speed_counts_the_wait_for_the_device(tiny, fit, monkeypatch):
    """A GPU is told what to do in no time; the numbers of the step come when it has done it."""
    clock = [0.0]

    def slow(strategy, value):
        clock[0] += 7.0 * (value.numel() == 3)  # not the tokens alone, which nobody waits for
        return total(strategy, value)

    monkeypatch.setattr("fusionscope.stages.meter.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("fusionscope.stages.meter.total", slow)
    stage = AlignmentPretraining(tiny)
    metrics = fit(stage, n=4, batch_size=4, log_every_n_steps=1).callback_metrics
    seen = sum(int(batch["attention_mask"].sum()) for batch in stage.trainer.datamodule.train_dataloader())
    assert metrics["train/tokens_per_second"] == pytest.approx(seen / 7.0)


def test_gradient_checkpointing_gives_the_same_gradient_through_a_frozen_language_model(tiny, toy):
    from fusionscope.data import Collator

    gradients = []
    for checkpointing in (False, True):
        stage = AlignmentPretraining(tiny, gradient_checkpointing=checkpointing)
        stage.configure_model()
        layer = stage.network.model.language_model.layers[0]
        assert layer.training == checkpointing
        assert not layer.mlp.training
        stage.training_step(
            Collator(stage.lvlm.processor, family=stage.lvlm.family)([toy()[0], toy()[1]]), 0
        ).backward()
        gradients.append(stage.network.model.multi_modal_projector.linear_1.weight.grad)
    torch.testing.assert_close(*gradients)


def test_every_written_step_has_its_learning_rate(tiny, fit, tmp_path):
    """Rates are handed over only when they are written: the two counts of steps must agree, over epochs too."""
    logger = CSVLogger(tmp_path, name="", version="csv")
    settings = {"n": 18, "batch_size": 2, "max_epochs": 2, "accumulate_grad_batches": 2}
    fit(AlignmentPretraining(tiny), logger=logger, log_every_n_steps=3, **settings)
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert [float(row["step"]) for row in rows] == [3, 6, 9]
    assert all(float(row["train/lr/projector"]) > 0 for row in rows)
