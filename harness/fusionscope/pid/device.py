"""What differs between the CPU and a device of its own: how often it is asked for a value."""

from torch import Tensor


def is_remote(x: Tensor) -> bool:
    """Whether looking at a value waits for a device of its own: then iterations ask it rarely."""
    return x.device.type != "cpu"
