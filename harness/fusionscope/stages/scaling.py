"""How the gradient of a summed loss becomes the gradient of its mean: one class per way, chosen once in set-up.

A micro-batch's loss is a sum over supervised tokens; how many tokens the whole accumulated batch has on all ranks is
known only at its end. Whoever trains calls the methods in their order and never asks which class it is.

Reference: DeepSpeed, ``runtime/zero/stage_1_and_2.py`` (``override_loss_scale``, ``unscale_and_clip_grads``).
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy
from torch import Tensor

from fusionscope.errors import ConfigError
from fusionscope.parallel import total


class GradientScaling(ABC):
    """What a stage asks of the strategy that it is trained under.

    Args:
        trainer: The trainer of the stage.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    @abstractmethod
    def check_windows(self) -> None:
        """Refuse an epoch that does not end with an update, where the strategy would not make one.

        Raises:
            ConfigError: An epoch is no whole number of accumulated batches.
        """

    @abstractmethod
    def begin_micro_batch(self, batch_idx: int) -> None:
        """Prepare the strategy for a micro-batch.

        Args:
            batch_idx: Number of the micro-batch in its epoch.
        """

    @abstractmethod
    def is_update(self) -> bool:
        """Whether the optimizer step that Lightning announces will change the weights."""

    @abstractmethod
    def loss_factor(self, tokens: Tensor) -> Tensor | float:
        """What to multiply a summed loss by before its backward pass; `scale` does the rest.

        Args:
            tokens: The micro-batch's number of supervised tokens on this rank, a scalar.
        """

    @abstractmethod
    def scale(self, module: LightningModule, tokens: float) -> None:
        """Turn the accumulated gradient into that of the mean, before clipping.

        Args:
            module: The stage; parameters that a subclass adds to its network are scaled too.
            tokens: Supervised tokens of the accumulated batch on all ranks, above 0.
        """

    def drop(self, module: LightningModule) -> None:
        """Leave out an update without supervised tokens, momentum included.

        Args:
            module: The stage.
        """
        for parameter in module.parameters():
            parameter.grad = None

    def divisions(self) -> int:
        """What Lightning (by the micro-batches) and the strategy (by the ranks) have divided the gradient by."""
        return self.trainer.accumulate_grad_batches * self.trainer.world_size


class InPlaceScaling(GradientScaling):
    """For strategies under which a parameter holds its gradient until the update.

    Where one micro-batch is all of an update, its loss is scaled instead, which spares a pass over the gradients.
    """

    def check_windows(self) -> None:
        """Nothing to refuse: Lightning updates with an epoch's last, shorter accumulation."""

    def begin_micro_batch(self, batch_idx: int) -> None:
        """Nothing to prepare."""

    def is_update(self) -> bool:
        """Always: Lightning announces no other."""
        return True

    def loss_factor(self, tokens: Tensor) -> Tensor | float:
        """One over the tokens of all ranks where the micro-batch is all of an update; else they are not known yet."""
        if self.trainer.accumulate_grad_batches > 1:
            return 1.0
        # none at all: there is no update, see `drop`
        return self.trainer.world_size / total(self.trainer.strategy, tokens).clamp(min=1)

    def scale(self, module: LightningModule, tokens: float) -> None:
        """Multiply every gradient, unless `loss_factor` has done it."""
        if self.trainer.accumulate_grad_batches == 1:
            return
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        if gradients:  # few kernels instead of one a parameter, as torch's optimizers do
            torch._foreach_mul_(gradients, self.divisions() / tokens)


class DeepSpeedScaling(GradientScaling):
    """For DeepSpeed, whose engine takes gradients away during the backward pass, counts micro-batches and clips itself.

    What it does offer is a loss scale that its optimizer divides gradients by, before clipping. A summed loss is a mean
    one scaled by its number of tokens: that is the scale it is given, once the whole accumulated batch is known.
    """

    def check_windows(self) -> None:
        """Refuse epochs whose last accumulation is shorter: DeepSpeed would not update with it."""
        pieces = self.trainer.accumulate_grad_batches
        if pieces == 1:
            return
        self.trainer.fit_loop.setup_data()  # counts the batches; does nothing where that is done
        batches = self.trainer.num_training_batches
        if batches == float("inf") or batches % pieces:
            whole = "" if batches == float("inf") else f" to {int(batches) // pieces * pieces}"
            raise ConfigError(
                f"{batches} batches an epoch with trainer.accumulate_grad_batches={pieces} under DeepSpeed",
                "Lightning leaves an epoch's last, shorter accumulation to DeepSpeed, which does not update with it",
                f"set trainer.limit_train_batches{whole} (a multiple of {pieces}), choose a batch size without rest, "
                "or use ddp or FSDP2",
            )

    def begin_micro_batch(self, batch_idx: int) -> None:
        """Say whether this micro-batch ends an accumulated batch, as Lightning counts them."""
        engine = self._engine()
        engine.set_gradient_accumulation_boundary((batch_idx + 1) % self.trainer.accumulate_grad_batches == 0)
        engine.optimizer.override_loss_scale(1.0)

    def is_update(self) -> bool:
        """Only at the end of an accumulated batch: under DeepSpeed Lightning announces one a micro-batch."""
        return bool(self._engine().is_gradient_accumulation_boundary())

    def loss_factor(self, tokens: Tensor) -> Tensor | float:
        """None: the loss scale of `scale` does it all."""
        return 1.0

    def scale(self, module: LightningModule, tokens: float) -> None:
        """Give the optimizer the number to divide by, the engine having divided by the micro-batches once more."""
        engine = self._engine()
        factor = self.divisions() / tokens * engine.gradient_accumulation_steps()
        engine.optimizer.override_loss_scale(1.0 / factor)

    def _engine(self) -> Any:
        return self.trainer.strategy.deepspeed_engine  # type: ignore[attr-defined]


def gradient_scaling(trainer: Trainer) -> GradientScaling:
    """The way of a trainer's strategy.

    Args:
        trainer: A trainer with its strategy.
    """
    kind = DeepSpeedScaling if isinstance(trainer.strategy, DeepSpeedStrategy) else InPlaceScaling
    return kind(trainer)
