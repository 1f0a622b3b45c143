"""The global random state, kept while something else draws from it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Set the random states of Python, NumPy, torch and its CUDA devices back to what they were before the block.

    >>> with random_state_kept():
    ...     first = torch.rand(1)
    >>> bool(torch.rand(1) == first)
    True
    """
    python = random.getstate()
    numpy = np.random.get_state()  # noqa: NPY002 (what others may draw from)
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        torch.cuda.set_rng_state_all(cuda)
