from types import SimpleNamespace

import lightning as L
import pytest
import torch

from fusionscope.errors import ConfigError
from fusionscope.lvlm import LVLM
from fusionscope.sandbox import UnimodalData, UnimodalPretraining, build_model
from fusionscope.sandbox.stage0 import _text
from fusionscope.sandbox.texts import Collate, Mixture
from fusionscope.sandbox.world import split
from fusionscope.stages.loss import IGNORE


class Watch(L.Callback):
    """Notes the metrics of every step and the gradients that the optimizer gets."""

    def __init__(self):
        self.losses, self.metrics, self.gradients = [], {}, {}

    def on_before_zero_grad(self, trainer, stage, optimizer):
        self.gradients = {name: p.grad.clone() for name, p in stage.named_parameters() if p.grad is not None}

    def on_train_batch_end(self, trainer, stage, *rest):
        self.losses.append(float(trainer.callback_metrics["train/loss"]))

    def on_train_end(self, trainer, stage):
        self.metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.manual_seed(11)
    stage, watch = UnimodalPretraining(seed=2, warmup_steps=0), Watch()
    trainer = L.Trainer(
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        num_sanity_val_steps=0,
        callbacks=[watch],
        default_root_dir=tmp_path_factory.mktemp("fit"),
    )
    trainer.fit(stage, UnimodalData(steps=8, batch_size=16, exam_scenes=24, seed=0))
    return stage, watch


def test_several_processes_are_refused():
    data = UnimodalData(steps=1)
    data.trainer = SimpleNamespace(world_size=2)
    with pytest.raises(ConfigError, match="stage 0 of the sandbox on 2 processes"):
        data.train_dataloader()


def test_the_language_loss_falls(trained):
    assert trained[1].losses[-1] < trained[1].losses[0] - 0.5


def test_validation_asks_every_family_and_the_vision_tower(trained):
    assert {f"val/accuracy/{name}" for name in ("synergy", "background", "knowledge", "vision")} < set(
        trained[1].metrics
    )
    assert all(0 <= value <= 1 for key, value in trained[1].metrics.items() if key.startswith("val/accuracy"))


def test_tower_and_language_model_are_trained_and_the_projector_is_not(trained):
    before, after = build_model(2).state_dict(), trained[0].lvlm.model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert not any("multi_modal_projector" in name for name in changed)
    assert any("vision_tower" in name for name in changed)
    assert any("lm_head" in name for name in changed)


def test_the_export_holds_the_trained_model_without_the_heads(trained, tmp_path):
    lvlm = LVLM.from_pretrained(str(trained[0].export(tmp_path)))
    expected = trained[0].lvlm.model.state_dict()
    assert set(lvlm.model.state_dict()) == set(expected)
    assert all(torch.equal(value, expected[name]) for name, value in lvlm.model.state_dict().items())


def test_the_update_follows_the_mean_of_both_losses():
    stage = UnimodalPretraining(seed=2)
    stage.configure_model()
    stage.log = lambda *args, **kwargs: None
    batch = Collate()([Mixture(split()[0], 16, seed=0)[i] for i in range(16)])
    text = _text(batch)
    n_tokens = int((text["labels"][:, 1:] != IGNORE).sum())
    (stage.training_step(batch, 0) / n_tokens).backward()
    found = {name: p.grad.clone() for name, p in stage.named_parameters() if p.grad is not None}
    stage.zero_grad()
    language = stage.network(**text).loss
    vision = sum(stage._vision(batch)[0].values())
    (language + vision).backward()
    for name, parameter in stage.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad, atol=1e-5, rtol=1e-3)


def test_heads_are_scaled_as_the_network_is(trained):
    """A gradient of the token sum would be hundreds of times larger and drown the rest in clipping."""
    norms = {name: float(g.norm()) for name, g in trained[1].gradients.items() if name.startswith("heads")}
    assert norms
    assert max(norms.values()) < 20


def test_no_seed_takes_the_global_one_without_drawing_from_it():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    stage = UnimodalPretraining()
    stage.configure_model()
    assert stage.seed == 5
    assert torch.equal(state, torch.get_rng_state())
