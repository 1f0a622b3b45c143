"""A miniature by the name of its model type."""

from typing import Any

import torch
from torch import nn

from fusionscope.lvlm.register import family_of


def miniature(model_type: str, seed: int = 0) -> tuple[nn.Module, Any]:
    """A tiny model of a family and its processor; the caller's random state is left as it was.

    Args:
        model_type: One of `fusionscope.lvlm.known_model_types`.
        seed: Seed of the weights.

    Raises:
        UnknownNameError: No family serves this type.
    """
    family = family_of(model_type)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        model, processor = family.miniature()
        return model.eval(), processor
