"""Every collective operation, and every test for weights that are sharded over ranks.

Each collective is the identity in a single process, so that callers need not ask how many there are. Importing this
module costs no more than torch: what knows FSDP is imported when it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch.distributed as dist
from torch import Tensor, nn

from fusionscope.errors import FusionscopeError

if TYPE_CHECKING:
    from lightning.pytorch.strategies import Strategy
    from torch.distributed.device_mesh import DeviceMesh

T = TypeVar("T")


# ranks


def is_distributed() -> bool:
    """Whether several processes work together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of processes that work together."""
    return dist.get_world_size() if is_distributed() else 1


def is_main() -> bool:
    """Whether this is the first rank, or the only process."""
    return rank() == 0


# collectives


def barrier() -> None:
    """Wait for the other processes."""
    if is_distributed():
        dist.barrier()


def all_gather(value: T) -> list[T]:
    """The values of all ranks, in their order, on every rank.

    Args:
        value: This rank's value; picklable.
    """
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def broadcast(value: T, source: int = 0) -> T:
    """One rank's value, on every rank.

    Args:
        value: This rank's value; picklable. What other ranks than the source pass is not looked at.
        source: The rank whose value it is.
    """
    if not is_distributed():
        return value
    values: list[Any] = [value]
    dist.broadcast_object_list(values, src=source)
    return values[0]


def total(strategy: Strategy, value: Tensor) -> Tensor:
    """Sum over ranks.

    Args:
        strategy: The trainer's strategy.
        value: This rank's value, any shape; not changed.
    """
    summed: Tensor = strategy.reduce(value.clone(), reduce_op="sum")
    return summed


# work that ranks divide


def share_work(items: Sequence[T], *, sharded: bool) -> list[T]:
    """The items that this rank handles.

    Args:
        items: The same on every rank.
        sharded: Whether every rank must handle every item, because none can run the model alone.

    Returns:
        All items where ``sharded``, or in a single process; else every n-th.
    """
    return list(items) if sharded else list(items[rank() :: world_size()])


def gather_work(work: Callable[[], list[T]], *, sharded: bool) -> list[T]:
    """The results of all ranks' work, on every rank; where it fails on one, it fails on all and none waits for it.

    Args:
        work: What this rank does with its items of `share_work`.
        sharded: As given to `share_work`; then each rank has all the results, and fails in the same pass.

    Raises:
        FusionscopeError: The work failed on another rank.
    """
    if sharded or not is_distributed():
        return work()
    results: list[T] = []
    failure: Exception | None = None
    try:
        results = work()
    except Exception as error:
        failure = error
    parts = all_gather((results, f"{type(failure).__name__}: {failure}" if failure else ""))
    if failure is not None:
        raise failure
    for number, (_, message) in enumerate(parts):
        if message:
            raise FusionscopeError(
                f"the work of rank {number} failed: {message}", "the ranks divide it", "fix what that rank says"
            )
    return [result for part, _ in parts for result in part]


# sharded weights


def is_sharded(model: nn.Module) -> bool:
    """Whether all ranks must run the model together: FSDP of both kinds, tensor parallelism, ZeRO-3.

    Args:
        model: Any module. DeepSpeed marks the parameters that it shards with ``ds_id``, and has no class for them.
    """
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    return any(isinstance(module, FSDPModule | FullyShardedDataParallel) for module in model.modules()) or any(
        isinstance(value, DTensor) or hasattr(value, "ds_id") for value in model.parameters()
    )


def shard(model: nn.Module, mesh: DeviceMesh, *, block: type[nn.Module]) -> None:
    """Shard a model over the processes (FSDP2), block by block, in place; does nothing where that is done.

    Args:
        model: The model.
        mesh: The data-parallel mesh.
        block: The class of the blocks that are gathered one at a time, such as a transformer's layers.
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if isinstance(model, FSDPModule):
        return
    for module in list(model.modules()):
        if isinstance(module, block):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def reshard(model: nn.Module) -> None:
    """Shard again what FSDP2 keeps gathered after a pass (modules at its root), so that weights have one form.

    Args:
        model: Any module.
    """
    for module in _fsdp2_modules(model):
        module.reshard()


def local(weight: Tensor) -> Tensor:
    """This rank's part of a weight: all of it, unless it is sharded.

    Args:
        weight: A parameter or buffer.
    """
    from torch.distributed.tensor import DTensor

    part: Tensor = weight.to_local() if isinstance(weight, DTensor) else weight
    return part


def gathered(weights: Iterable[tuple[str, Tensor]], *, keep: bool) -> dict[str, Tensor]:
    """Whole tensors from sharded ones, in the CPU's memory; every process must call it with the same names.

    Only one tensor is whole on the device at a time: beside its optimizer a GPU has no room for the model.

    Args:
        weights: Names and tensors, sharded or not.
        keep: Whether this process wants them; others get nothing.
    """
    from torch.distributed.tensor import DTensor

    whole = {}
    for key, value in weights:
        full = value.full_tensor() if isinstance(value, DTensor) else value
        if keep:
            whole[key] = full.cpu()
    return whole


@contextmanager
def outer_weights(model: nn.Module) -> Iterator[None]:
    """Inside, the weights of FSDP2 modules that hold other FSDP2 modules are whole on every rank.

    Those (embeddings, norm, head) are what FSDP2 gathers when its root is called, and only then; whoever calls the
    modules one by one needs them whole. Modules that hold no other gather themselves.

    Args:
        model: Any module; nothing happens where it is not sharded.
    """
    sharded = _fsdp2_modules(model)
    inside = set(sharded)
    outer = [module for module in sharded if any(other in inside for other in module.modules() if other is not module)]
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


def _fsdp2_modules(model: nn.Module) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]
