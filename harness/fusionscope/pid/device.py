"""What differs between the CPU and an accelerator: how much is computed at once, and how often values are read."""

from torch import Tensor

_IN_CACHE = 2**20  # elements
_ELSEWHERE = 2**26  # half a GiB, beside a model that trains


def is_remote(x: Tensor) -> bool:
    """Whether reading a value synchronises with an accelerator: then iterations do it rarely."""
    return x.device.type != "cpu"


def at_once(x: Tensor, numbers: int) -> int:
    """The number of problems to solve together where the largest tensor of each has a given number of elements."""
    return max(1, (_ELSEWHERE if is_remote(x) else _IN_CACHE) // max(1, numbers))
