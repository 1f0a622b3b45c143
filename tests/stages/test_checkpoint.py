"""Checkpoints hold what was trained, load exactly, and continue a run as if it had never stopped."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from transformers import AutoModelForImageTextToText, AutoProcessor

from fusionscope.callbacks import PIDCallback, Schedule
from fusionscope.data import Collator
from fusionscope.errors import DataError
from fusionscope.lvlm import family_of
from fusionscope.records import RecordFile
from fusionscope.sandbox.model import write
from fusionscope.stages import AlignmentPretraining, LoraSettings, PartConfig, VisualInstructionTuning
from fusionscope.tasks import load_task

FULL = PartConfig(tune="full", lr=1e-2)
LORA = LoraSettings(rank=2, alpha=4, dropout=0.1)


def lora_stage(tiny, **settings):
    return VisualInstructionTuning(
        tiny, projector=FULL, language_model=PartConfig(tune="lora", lr=1e-2), lora=LORA, **settings
    )


def build(kind, tiny):
    if kind == "alignment":
        return AlignmentPretraining(tiny, projector=FULL)
    if kind == "full":
        return VisualInstructionTuning(tiny, projector=FULL, language_model=FULL)
    return lora_stage(tiny)


def pid_curves(folder):
    """The atoms of every probe: {(step, layer): atoms}."""
    records = RecordFile(folder / "records.jsonl").read()
    return {(record.step, record.layer): record.atoms for record in records}


class Losses(Callback):
    """Losses and checkpoints of every optimizer step."""

    def __init__(self, save: Path | None = None) -> None:
        self.save, self.losses = save, {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        step = trainer.global_step
        if "train/loss" in trainer.callback_metrics and step not in self.losses:
            self.losses[step] = float(trainer.callback_metrics["train/loss"])
            if self.save is not None:
                trainer.save_checkpoint(self.save / f"{step}.ckpt")


def test_adapters_are_in_the_language_model_alone_and_spare_the_head(tiny):
    stage = lora_stage(tiny)
    stage.configure_model()
    adapted = {name.split(".lora_")[0] for name, _ in stage.network.named_parameters() if ".lora_" in name}
    assert adapted
    assert all(name.startswith("model.language_model.layers.") for name in adapted)
    assert len(adapted) == 4 * 7
    trained = {name for name, p in stage.network.named_parameters() if p.requires_grad}
    assert all(".lora_" in name or "multi_modal_projector" in name for name in trained)
    assert sum("multi_modal_projector" in name for name in trained) == 4


@pytest.mark.parametrize("kind", ["alignment", "lora"])
def test_a_checkpoint_holds_the_trained_weights_and_names_its_base(kind, tiny, fit, tmp_path):
    stage = build(kind, tiny)
    fit(stage, n=8).save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert set(saved["state_dict"]) == {name for name, p in stage.named_parameters() if p.requires_grad}
    assert saved["fusionscope"]["base"] == tiny
    assert saved["fusionscope"]["base_hash"].startswith("sha256:")


def test_missing_unexpected_and_foreign_weights_are_refused(tiny, fit, tmp_path):
    trainer = fit(lora_stage(tiny), n=8)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    name = next(name for name in saved["state_dict"] if "lora_A" in name)

    def resume(change, stage):
        changed = torch.load(tmp_path / "a.ckpt", weights_only=True)
        change(changed)
        torch.save(changed, tmp_path / "b.ckpt")
        fit(stage, n=8, max_epochs=2, ckpt_path=str(tmp_path / "b.ckpt"))

    with pytest.raises(DataError, match="misses 1 trained weights"):
        resume(lambda c: c["state_dict"].pop(name), lora_stage(tiny))
    with pytest.raises(DataError, match="holds 1 that this stage does not train"):
        resume(lambda c: c["state_dict"].update({"network.other": torch.ones(1)}), lora_stage(tiny))
    with pytest.raises(DataError, match=r"misses 0 trained weights .* holds 56"):
        resume(lambda c: None, AlignmentPretraining(tiny, projector=FULL))
    with pytest.raises(DataError, match=r"trained on .* the stage loaded"):
        resume(lambda c: None, lora_stage(str(write(tmp_path / "other", seed=1))))
    part = PartConfig(tune="lora", lr=1e-2)
    other = VisualInstructionTuning(tiny, projector=FULL, language_model=part, lora=LoraSettings(rank=2, alpha=5))
    with pytest.raises(DataError, match="adapters have rank 2 and alpha 4, the stage's rank 2 and alpha 5"):
        resume(lambda c: None, other)
    with pytest.raises(DataError, match="not saved by a fusionscope stage"):
        resume(lambda c: c.pop("fusionscope"), lora_stage(tiny))


def test_a_renamed_weight_file_or_a_changed_weight_changes_the_fingerprint(tiny, tmp_path):
    from fusionscope.stages.checkpoint import fingerprint

    other = write(tmp_path / "other", seed=1)
    assert fingerprint(tiny) == fingerprint(str(write(tmp_path / "same", seed=0)))
    assert fingerprint(tiny) != fingerprint(str(other))
    (other / "model.safetensors").rename(other / "pytorch_model.bin")  # which transformers loads as well
    said = fingerprint(str(other))
    (other / "pytorch_model.bin").write_bytes(b"others")
    assert fingerprint(str(other)) != said
    (other / "pytorch_model.bin").unlink()
    with pytest.raises(DataError, match="has no weight files"):
        fingerprint(str(other))


@pytest.mark.parametrize("kind", ["alignment", "lora"])
def test_export_merges_and_plain_transformers_reloads_it(kind, tiny, fit, toy, tmp_path):
    stage = build(kind, tiny)
    fit(stage, n=16)
    before = {name: value.clone() for name, value in stage.state_dict().items()}
    stage.export(tmp_path / "exported")
    assert all(torch.equal(value, before[name]) for name, value in stage.state_dict().items())
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "exported").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "exported")
    original = AutoModelForImageTextToText.from_pretrained(tiny)
    assert set(model.state_dict()) == set(original.state_dict())
    batch = Collator(processor, family=family_of("llava"))([toy()[i] for i in range(4)])
    stage.network.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, stage.network(**batch).logits, atol=1e-5, rtol=0)
        assert (model(**batch).logits - original.eval()(**batch).logits).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["alignment", "full", "lora"])
def test_resume_at_any_step_is_identical(kind, tiny, fit, tmp_path):
    """Two epochs of 9 micro-batches, accumulated by 2: five steps an epoch, the fifth after one micro-batch."""
    settings = {"n": 18, "batch_size": 2, "max_epochs": 2, "accumulate_grad_batches": 2}
    task = load_task("sandbox/synergy", images=48)

    def pid(name):
        schedule = Schedule(every_n_steps=2, at_start=False)
        return PIDCallback([task], schedule=schedule, directory=str(tmp_path / name), progress=False)

    whole = Losses(save=tmp_path)
    stage = build(kind, tiny)
    torch.manual_seed(0)
    fit(stage, callbacks=[pid("whole"), whole], **settings)
    curves = pid_curves(tmp_path / "whole")
    assert {step for step, _ in curves} == {2, 4, 6, 8, 10}
    assert sorted(whole.losses) == list(range(1, 11))
    for step in (1, 3, 5, 7):
        torch.manual_seed(99)
        resumed, rest = build(kind, tiny), Losses()
        fit(resumed, callbacks=[pid(f"from {step}"), rest], ckpt_path=str(tmp_path / f"{step}.ckpt"), **settings)
        later = {place: atoms for place, atoms in curves.items() if place[0] > step}
        assert pid_curves(tmp_path / f"from {step}") == later
        expected = {later: loss for later, loss in whole.losses.items() if later > step}
        assert {later: loss for later, loss in rest.losses.items() if later > step} == expected
        for name, value in stage.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[name]), (step, name)


def test_a_resumed_run_keeps_its_offset(tiny, fit, tmp_path):
    from fusionscope.records import Run, Stage  # type: ignore[attr-defined]

    run = Run(
        directory=tmp_path,
        recipe="r",
        digest="d",
        seed=None,
        stages=(Stage(name="a", status="done", steps=40), Stage(name="b")),
    )
    run.start("b").save()
    stage = AlignmentPretraining(tiny)
    trainer = fit(stage, n=8)
    assert stage.optimizer_steps == 42
    assert trainer.callback_metrics["step"] == 42
