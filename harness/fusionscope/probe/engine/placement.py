"""Where numbers are crunched that belong to no pass of the model: on the model's device, where that has room."""

import warnings
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from fusionscope.probe.engine.memory import out_of_memory

T = TypeVar("T")


def on_device(device: torch.device | str, what: str, work: Callable[..., T], *inputs: Any) -> T:
    """What ``work`` makes of inputs whose tensors were moved to a device.

    It needs float64, hence the CPU instead of ``"mps"``, which has none. Where the device has no room left beside the
    model, that is said and the CPU does the work.

    Args:
        device: The model's.
        what: The work, for the warning.
        work: A function of the inputs.
        *inputs: Tensors, wherever they are, and dataclasses with tensors among their fields.
    """
    device = torch.device(device)
    if device.type != "mps":
        try:
            return work(*(_moved(x, device) for x in inputs))
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            warnings.warn(
                f"{device} has no room left to {what} of shape {_shape(inputs[0])}; the CPU did it, with the "
                f"same result but slower ({str(error).splitlines()[0]})",
                RuntimeWarning,
                stacklevel=2,
            )
    return work(*(_moved(x, torch.device("cpu")) for x in inputs))


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _moved(getattr(value, f.name), device) for f in fields(value) if f.init})
    return value


def _shape(value: Any) -> tuple[int, ...]:
    first = value if isinstance(value, Tensor) else getattr(value, fields(value)[0].name)
    return tuple(first.shape)
