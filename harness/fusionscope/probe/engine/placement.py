"""Where numbers are crunched that belong to no pass of the model: on the model's device, where that has room."""

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from fusionscope.probe.engine.memory import out_of_memory

T = TypeVar("T")


def on_device(device: torch.device | str, what: str, work: Callable[..., T], *tensors: Tensor) -> T:
    """What ``work`` makes of tensors that were moved to a device.

    It needs float64, hence the CPU instead of ``"mps"``, which has none. Where the device has no room left beside the
    model, that is said and the CPU does the work.

    Args:
        device: The model's.
        what: The work, for the warning.
        work: A function of the tensors.
        *tensors: Wherever they are.
    """
    device = torch.device(device)
    if device.type != "mps":
        try:
            return work(*(x.to(device) for x in tensors))
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            warnings.warn(
                f"{device} has no room left to {what} of shape {tuple(tensors[0].shape)}; the CPU did it, with the "
                f"same result but slower ({str(error).splitlines()[0]})",
                RuntimeWarning,
                stacklevel=2,
            )
    return work(*(x.cpu() for x in tensors))
