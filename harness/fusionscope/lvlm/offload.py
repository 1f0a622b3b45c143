"""Where modules compute and in which dtype, also where accelerate spreads a model or weights are quantized."""

from typing import Any

import torch
from torch import nn


def execution_device(module: nn.Module) -> torch.device:
    """Where a module wants its inputs; an offloaded one says so through its accelerate hook.

    A module that accelerate spreads over devices has no hook itself: its first part with a hook or weights decides.
    """
    for part in module.modules():
        for hook in offload_hooks(part):
            if hook.execution_device is not None:
                return torch.device(hook.execution_device)
        weight = next(part.parameters(recurse=False), None)
        if weight is not None:
            return weight.device
    return torch.device("cpu")


def offload_hooks(module: nn.Module) -> list[Any]:
    """accelerate's hooks on a module that know a device for it."""
    attached = getattr(module, "_hf_hook", None)
    return [hook for hook in getattr(attached, "hooks", (attached,)) if hasattr(hook, "execution_device")]


def module_dtype(module: nn.Module) -> torch.dtype:
    """The dtype that a module computes in: that of its first floating-point weight which is not quantized."""
    wide = (value.dtype for value in module.parameters() if value.is_floating_point() and value.element_size() > 1)
    return next(wide, torch.get_default_dtype())
