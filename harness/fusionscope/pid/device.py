"""What differs between the CPU and a device of its own: how much it does at once, and how often it is asked."""

from torch import Tensor

_IN_CACHE = 2**20  # numbers
_ELSEWHERE = 2**26  # half a GiB, beside a model that trains


def is_remote(x: Tensor) -> bool:
    """Whether looking at a value waits for a device of its own: then iterations ask it rarely."""
    return x.device.type != "cpu"


def at_once(x: Tensor, numbers: int) -> int:
    """How many problems to solve together where the largest tensor of each has so many numbers."""
    return max(1, (_ELSEWHERE if is_remote(x) else _IN_CACHE) // max(1, numbers))
