"""What a stage owes to Lightning's strategies: which it can train under, and how each has its gradients scaled.

Under most strategies a parameter holds its gradient until the update, so scaling it in place is enough; where one
micro-batch is all of an update, its loss is scaled instead, which spares a pass over the gradients. DeepSpeed's
engine takes gradients away during the backward pass, counts micro-batches and clips by itself; what it does offer is a
loss scale that its optimizer divides gradients by, before clipping. A summed loss is a mean one scaled by its number
of tokens: that is the scale it is told, once the whole accumulated batch is known.

Reference: DeepSpeed, ``runtime/zero/stage_1_and_2.py`` (``override_loss_scale``, ``unscale_and_clip_grads``).
"""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor

from fusionscope.errors import ConfigError
from fusionscope.parallel import total

_FSDP2 = (
    "set trainer.strategy to lightning.pytorch.strategies.ModelParallelStrategy (FSDP2) with data_parallel_size: the "
    "number of processes, tensor_parallel_size: 1, save_distributed_checkpoint: false"
)


def prepare(trainer: Trainer) -> None:
    """Refuse what would make updates or checkpoints wrong; DeepSpeed is told to save what is trained alone.

    Args:
        trainer: A trainer with its strategy.

    Raises:
        ConfigError: A precision that takes float32 from trained weights, Lightning's FSDP of the first kind, FSDP2 with
            tensor parallelism (Lightning's default) or with checkpoints in pieces, DeepSpeed's stages 0 and 3,
            DeepSpeed with float16 or with an optimizer of its own.
    """
    strategy = trainer.strategy
    if trainer.precision in ("bf16-true", "16-true"):
        raise ConfigError(
            f"trainer.precision={trainer.precision}",
            "it holds trained weights in 16 bits too, where most updates of a fine-tuning are rounded away",
            "set trainer.precision to bf16-mixed, and model.dtype to bfloat16 for the frozen weights",
        )
    if isinstance(strategy, DeepSpeedStrategy):
        _prepare_deepspeed(trainer, strategy)
    if isinstance(strategy, ModelParallelStrategy):
        _check_fsdp2(strategy)
    if isinstance(strategy, FSDPStrategy):
        raise ConfigError(
            "trainer.strategy=fsdp", "it hides which weights are trained, so checkpoints miss them", _FSDP2
        )


def _check_fsdp2(strategy: ModelParallelStrategy) -> None:
    split = strategy.device_mesh["tensor_parallel"].size()
    if split > 1:
        raise ConfigError(
            f"ModelParallelStrategy with tensor_parallel_size={split} (Lightning's default is all processes of a node)",
            "a stage shards over data-parallel processes alone: the others would each train a model of their own",
            _FSDP2,
        )
    if strategy._save_distributed_checkpoint:  # told nowhere else
        raise ConfigError(
            "ModelParallelStrategy with save_distributed_checkpoint=True (Lightning's default)",
            "such checkpoints want every weight when they are loaded, while a stage saves what is trained: they could "
            "neither be resumed nor probed",
            _FSDP2,
        )


def _prepare_deepspeed(trainer: Trainer, strategy: DeepSpeedStrategy) -> None:
    config: dict[str, Any] = strategy.config or {}
    zero = int((config.get("zero_optimization") or {}).get("stage", 0))
    if zero == 3:
        raise ConfigError(
            "DeepSpeed with ZeRO stage 3",
            "weights would lie in pieces that probes, checks of checkpoints and exports cannot read",
            f"{_FSDP2}, which shards weights too, or deepspeed_stage_2",
        )
    if zero not in (1, 2):
        raise ConfigError(
            f"DeepSpeed with ZeRO stage {zero}", "it shards nothing", "set trainer.strategy to ddp or deepspeed_stage_2"
        )
    if trainer.precision.startswith("16"):
        raise ConfigError(
            f"trainer.precision={trainer.precision} with DeepSpeed",
            "its loss scale is taken for the number of supervised tokens, and float16 needs one of its own",
            "set trainer.precision to bf16-mixed",
        )
    if "optimizer" in config:
        raise ConfigError(
            "an optimizer in DeepSpeed's config",
            "it would ignore the stage's learning rate per part and its schedule",
            "leave it out",
        )
    strategy.exclude_frozen_parameters = True


def check_windows(trainer: Trainer) -> None:
    """Refuse accumulated batches that DeepSpeed would not end with the epoch.

    Args:
        trainer: A trainer that knows its number of batches.

    Raises:
        ConfigError: An epoch is no whole number of accumulated batches.
    """
    pieces = trainer.accumulate_grad_batches
    if not isinstance(trainer.strategy, DeepSpeedStrategy) or pieces == 1:
        return
    trainer.fit_loop.setup_data()  # counts the batches; does nothing where that is done
    batches = trainer.num_training_batches
    if batches == float("inf") or batches % pieces:
        whole = "" if batches == float("inf") else f" to {int(batches) // pieces * pieces}"
        raise ConfigError(
            f"{batches} batches an epoch with trainer.accumulate_grad_batches={pieces} under DeepSpeed",
            "Lightning leaves an epoch's last, shorter accumulation to DeepSpeed, which does not update with it",
            f"set trainer.limit_train_batches{whole} (a multiple of {pieces}), choose a batch size without rest, "
            "or use ddp or FSDP2",
        )


def begin_micro_batch(trainer: Trainer, batch_idx: int) -> None:
    """Tell DeepSpeed whether this micro-batch ends an accumulated batch, as Lightning counts them.

    Args:
        trainer: The trainer.
        batch_idx: The micro-batch's number in its epoch.
    """
    engine = _engine(trainer)
    if engine is not None:
        engine.set_gradient_accumulation_boundary((batch_idx + 1) % trainer.accumulate_grad_batches == 0)
        engine.optimizer.override_loss_scale(1.0)


def is_update(trainer: Trainer) -> bool:
    """Whether the optimizer step that Lightning announces will change the weights: DeepSpeed has one a micro-batch."""
    engine = _engine(trainer)
    return engine is None or bool(engine.is_gradient_accumulation_boundary())


def loss_scale(trainer: Trainer, tokens: Tensor) -> Tensor | float:
    """What to multiply a summed loss by before its backward pass; `scale_gradients` does the rest.

    Args:
        trainer: The trainer.
        tokens: The micro-batch's number of supervised tokens on this rank.

    Returns:
        One over the tokens of all ranks where the micro-batch is all of an update, else 1: they are not known yet.
    """
    if _engine(trainer) is not None or trainer.accumulate_grad_batches > 1:
        return 1.0
    every = total(trainer.strategy, tokens).clamp(min=1)  # none at all: there is no update, see `drop_gradients`
    return trainer.world_size / every  # the strategy divides by the ranks


def scale_gradients(module: LightningModule, factor: float) -> None:
    """Multiply the gradient of the summed losses, before clipping.

    Args:
        module: The stage; parameters that a subclass adds to its network are scaled too.
        factor: One over the number of tokens.
    """
    trainer = module.trainer
    # Lightning divided by the micro-batches, the strategy by the ranks
    factor *= trainer.accumulate_grad_batches * trainer.world_size
    engine = _engine(trainer)
    if engine is not None:
        # the engine has divided by the micro-batches once more
        engine.optimizer.override_loss_scale(1.0 / (factor * engine.gradient_accumulation_steps()))
        return
    if trainer.accumulate_grad_batches == 1:
        return  # loss_scale has done it
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    if gradients:
        torch._foreach_mul_(gradients, factor)  # what torch's optimizers use: few kernels instead of one a parameter


def drop_gradients(module: LightningModule) -> None:
    """Leave out an update that has nothing to learn from, momentum included.

    Under DeepSpeed, whose engine has taken the gradients away, it is one with a gradient of zero.

    Args:
        module: The stage.
    """
    for parameter in module.parameters():
        parameter.grad = None


def _engine(trainer: Trainer) -> Any:
    strategy = trainer.strategy
    return strategy.deepspeed_engine if isinstance(strategy, DeepSpeedStrategy) else None
