"""Running a model that somebody else is training, without leaving a trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """The weights of FSDP modules that hold other FSDP modules, whole on every rank; nothing else is touched."""
    sharded: list[Any] = [module for module in model.modules() if hasattr(module, "unshard")]
    outer = [one for one in sharded if any(other is not one and hasattr(other, "unshard") for other in one.modules())]
    handles = []
    try:
        for module in outer[:1]:
            # The first module to run forward becomes FSDP's root; a layer must not, if training has not begun.
            module._get_fsdp_state()._lazy_init()
        for module in outer:
            module.unshard()
            # Its own forward pass would leave it sharded: the decoder's, whose norm is called afterwards.
            handles.append(module.register_forward_hook(lambda module, args, output: module.unshard()))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in outer:
            module.reshard()


@contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Compiled modules run as written: a probe's shapes would use up the compiler's limit of recompilations."""
    if any(hasattr(one, "_orig_mod") or getattr(one, "_compiled_call_impl", None) for one in model.modules()):
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
        with torch.inference_mode(False), torch.no_grad(), eager(model), gathered(model):
            yield
    finally:
        torch.set_autocast_cache_enabled(autocast_cache)
        for module, mode in modes:
            module.training = mode
