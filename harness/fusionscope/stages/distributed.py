"""The few collective operations of a stage; each is the identity in a single process."""

from collections.abc import Iterable
from typing import Any

import torch.distributed as dist
from lightning.pytorch.strategies import Strategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer


def total(strategy: Strategy, value: Tensor) -> Tensor:
    """Sum over ranks.

    Args:
        strategy: The trainer's strategy.
        value: This rank's value, any shape; not changed.
    """
    summed: Tensor = strategy.reduce(value.clone(), reduce_op="sum")
    return summed


def gather(value: Any) -> list[Any]:
    """The values of all ranks in order, on every rank.

    Args:
        value: This rank's value; picklable.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Shard a model over the processes (FSDP2), transformer block by transformer block, in place; once.

    Args:
        model: A Hugging Face vision-language model.
        mesh: The data-parallel mesh.
    """
    if isinstance(model, FSDPModule):
        return
    for module in list(model.modules()):
        if isinstance(module, GradientCheckpointingLayer):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def gathered(weights: Iterable[tuple[str, Tensor]], keep: bool) -> dict[str, Tensor]:
    """Whole tensors from sharded ones, in the CPU's memory; every process must call it with the same names.

    Only one tensor is whole on the device at a time: beside its optimizer a GPU has no room for the model.

    Args:
        weights: Names and tensors, sharded or not.
        keep: Whether this process wants them; others get nothing.
    """
    whole = {}
    for key, value in weights:
        full = value.full_tensor() if isinstance(value, DTensor) else value
        if keep:
            whole[key] = full.cpu()
    return whole


def barrier() -> None:
    """Wait for the other processes."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
