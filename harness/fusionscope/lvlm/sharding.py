"""Weights that lie in pieces on several ranks: what all ranks must do alike."""

from typing import Any

import torch
from torch import nn


def is_sharded(model: nn.Module) -> bool:
    """Whether a pass through the model is a joint affair of all ranks (FSDP2, tensor parallelism)."""
    return any(hasattr(module, "reshard") for module in model.modules()) or any(
        hasattr(value, "to_local") for value in model.parameters()
    )


def from_all_ranks(value: Any) -> list[Any]:
    """One value per rank, in the order of the ranks."""
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, value)
    return everyone
