"""Running a model that somebody else is training, without leaving a trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from fusionscope.parallel import outer_weights


@contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Compiled modules run as written: a probe's shapes would use up the compiler's limit of recompilations."""
    if any(hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) for module in model.modules()):
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's mode is put back, also after an error.

    The flag of each module is set directly: an overridden ``train`` may have side effects, and a frozen tower that
    its owner keeps in evaluation mode must not come back in training mode. The autocast cache is off inside: a
    half-precision copy of a weight made without gradients would otherwise be reused by the training step around it.
    Weights that FSDP shards at the root (embeddings, norm, head) are gathered for the time inside: the probe calls
    those modules one by one and not through the root. Compiled modules run eagerly, so that nothing is compiled anew.

    Args:
        model: The model, in any mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    autocast_cache = torch.is_autocast_cache_enabled()
    try:
        for module, _ in modes:
            module.training = False
        torch.set_autocast_cache_enabled(False)
        with torch.inference_mode(False), torch.no_grad(), eager(model), outer_weights(model):
            yield
    finally:
        torch.set_autocast_cache_enabled(autocast_cache)
        for module, mode in modes:
            module.training = mode
