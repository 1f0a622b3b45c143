"""The few collective operations of a stage; each is the identity in a single process."""

from typing import Any

import torch.distributed as dist
from lightning.pytorch.strategies import Strategy
from torch import Tensor


def total(strategy: Strategy, value: Tensor) -> Tensor:
    """Sum over ranks.

    Args:
        strategy: The trainer's strategy.
        value: This rank's value, any shape; not changed.
    """
    summed: Tensor = strategy.reduce(value.clone(), reduce_op="sum")
    return summed


def gather(value: Any) -> list[Any]:
    """The values of all ranks in order, on every rank.

    Args:
        value: This rank's value; picklable.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
