"""Weights that lie in pieces on several ranks: what all ranks must do alike."""

from typing import Any

import torch
from torch import nn


def is_sharded(model: nn.Module) -> bool:
    """Whether a pass through the model is a joint affair of all ranks (FSDP of both kinds, tensor parallelism, ZeRO-3).

    DeepSpeed marks the parameters that it spreads (stage 3 alone) with ``ds_id``.
    """
    return any(
        hasattr(module, "reshard") or type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()
    ) or any(hasattr(value, "to_local") or hasattr(value, "ds_id") for value in model.parameters())


def from_all_ranks(value: Any) -> list[Any]:
    """One value per rank, in the order of the ranks."""
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, value)
    return everyone
