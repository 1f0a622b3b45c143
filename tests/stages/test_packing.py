"""A run with packing is the run without, faster: the same weights, counts and places to resume from."""

from dataclasses import replace

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from fusionscope.errors import ConfigError
from fusionscope.lvlm import CannotPack
from fusionscope.stages import PartConfig, VisualInstructionTuning

FULL = PartConfig(tune="full", lr=0.05)


class Watching(Callback):
    """Shapes and losses; a checkpoint after one batch of them."""

    def __init__(self, save: str = "", at: int = 0) -> None:
        self.save, self.at = save, at
        self.shapes: list[tuple[int, ...]] = []
        self.counted: list[int] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.shapes.append(tuple(batch["input_ids"].shape))
        self.counted.append(int(batch["packed_tokens"] if "packed_tokens" in batch else batch["attention_mask"].sum()))
        if self.save and len(self.shapes) == self.at:
            trainer.save_checkpoint(self.save)


def stage(tiny, **settings):
    """With plain gradient descent: Adam divides what rounding leaves of a gradient by its size."""
    made = VisualInstructionTuning(tiny, projector=FULL, language_model=FULL, **settings)
    made.configure_optimizers = lambda: torch.optim.SGD(made.parameter_groups())
    return made


def weights(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def close(one, other, atol):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=atol, rtol=0)


def test_a_run_ends_with_the_weights_of_the_padded_run_and_resumes_within_an_epoch(tiny, fit, tmp_path):
    found, watching = {}, {}
    for packing in (False, True):
        module = stage(tiny)
        module.configure_model()
        before = weights(module)
        watching[packing] = Watching(str(tmp_path / "middle.ckpt"), at=6)
        settings = {"n": 14, "max_epochs": 2, "accumulate_grad_batches": 2, "packing": packing}
        fit(module, callbacks=[watching[packing]], **settings)
        found[packing] = weights(module)
    assert max((found[True][name] - value).abs().max().item() for name, value in before.items()) > 1e-2
    close(found[False], found[True], atol=1e-5)
    assert watching[True].counted == watching[False].counted
    assert sum(b * t for b, t in watching[True].shapes) < sum(b * t for b, t in watching[False].shapes)
    resumed, rest = stage(tiny), Watching()
    fit(resumed, callbacks=[rest], ckpt_path=str(tmp_path / "middle.ckpt"), **settings)
    assert rest.shapes == watching[True].shapes[6:]
    close(found[True], weights(resumed), atol=0)


def test_recomputed_layers_keep_samples_apart(tiny, fit):
    found = []
    for packing in (False, True):
        module = stage(tiny, gradient_checkpointing=packing)
        fit(module, n=8, packing=packing)
        found.append(weights(module))
    close(*found, atol=1e-5)


def test_a_model_that_cannot_is_refused_before_training(tiny, fit):
    module = stage(tiny)
    module.configure_model()
    family = module.lvlm.adapter.family
    module.lvlm.adapter.family = replace(family, packing=CannotPack(reason="its tokens are all one sample"))
    with pytest.raises(ConfigError, match="type 'llava'\nWhy: its tokens are all one sample"):
        fit(module, packing=True)
