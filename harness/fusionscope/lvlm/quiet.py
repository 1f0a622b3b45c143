"""Running a model that somebody else is training, without leaving a trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's mode is put back, also after an error.

    The flag of each module is set directly: an overridden ``train`` may have side effects, and a frozen tower that
    its owner keeps in evaluation mode must not come back in training mode. The autocast cache is off inside: a
    half-precision copy of a weight made without gradients would otherwise be reused by the training step around it.

    Args:
        model: The model, in any mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    autocast_cache = torch.is_autocast_cache_enabled()
    try:
        for module, _ in modes:
            module.training = False
        torch.set_autocast_cache_enabled(False)
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        torch.set_autocast_cache_enabled(autocast_cache)
        for module, mode in modes:
            module.training = mode
