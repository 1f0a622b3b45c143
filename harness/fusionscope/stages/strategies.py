"""Which of Lightning's strategies and precisions a stage can be trained under; the others are refused."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from fusionscope.errors import ConfigError

_FSDP2 = (
    "set trainer.strategy to lightning.pytorch.strategies.ModelParallelStrategy (FSDP2) with data_parallel_size: the "
    "number of processes, tensor_parallel_size: 1, save_distributed_checkpoint: false"
)


def prepare(trainer: Trainer) -> None:
    """Refuse what would make updates or checkpoints wrong; DeepSpeed is set to save the trained weights alone.

    Args:
        trainer: A trainer with its strategy.

    Raises:
        ConfigError: A precision that takes float32 from trained weights, Lightning's FSDP of the first kind, FSDP2 with
            tensor parallelism (Lightning's default) or with sharded checkpoints, DeepSpeed's stages 0 and 3,
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
            "a stage shards over data-parallel processes alone: each of the others would train another model",
            _FSDP2,
        )
    if strategy._save_distributed_checkpoint:  # no public name
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
            "weights would be sharded in a form that probes, checks of checkpoints and exports cannot read",
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
