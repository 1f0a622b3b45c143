"""Sharing the probes of one moment between the processes of a run."""

from collections.abc import Sequence
from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")


def own_share(items: Sequence[T], *, sharded: bool) -> list[T]:
    """The items that this rank handles: all of them alone or with a sharded model, every n-th otherwise."""
    if sharded or not _several():
        return list(items)
    return list(items[dist.get_rank() :: dist.get_world_size()])


def gather(results: list[T], *, sharded: bool) -> list[T]:
    """The results of all ranks, on every rank."""
    if sharded or not _several():
        return results
    parts: list[list[T] | None] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, results)
    return [result for part in parts for result in part or []]


def is_main() -> bool:
    """Whether this is the first rank, or the only process."""
    return not _several() or dist.get_rank() == 0


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
