"""Sharing the probes of one moment between the processes of a run."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch.distributed as dist

from fusionscope.errors import FusionscopeError

T = TypeVar("T")


def own_share(items: Sequence[T], *, sharded: bool) -> list[T]:
    """The items that this rank handles: all of them alone or with a sharded model, every n-th otherwise."""
    if sharded or not _several():
        return list(items)
    return list(items[dist.get_rank() :: dist.get_world_size()])


def gather(work: Callable[[], list[T]], *, sharded: bool) -> list[T]:
    """The results of all ranks' work, on every rank; where one fails all do, and none waits for it.

    Raises:
        FusionscopeError: The work failed on another rank.
    """
    if sharded or not _several():
        return work()
    results: list[T] = []
    failure: Exception | None = None
    try:
        results = work()
    except Exception as error:
        failure = error
    parts: list[tuple[list[T], str]] = [([], "")] * dist.get_world_size()
    dist.all_gather_object(parts, (results, f"{type(failure).__name__}: {failure}" if failure else ""))
    if failure is not None:
        raise failure
    for rank, (_, told) in enumerate(parts):
        if told:
            raise FusionscopeError(
                f"the probe failed on rank {rank}: {told}", "the ranks share its tasks", "mend what that rank says"
            )
    return [result for part, _ in parts for result in part]


def is_main() -> bool:
    """Whether this is the first rank, or the only process."""
    return not _several() or dist.get_rank() == 0


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
