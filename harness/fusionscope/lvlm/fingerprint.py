"""A hash of weights: what was computed with them may be used again as long as it is the same."""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from fusionscope.lvlm.offload import offload_hooks
from fusionscope.parallel import all_gather, is_sharded, local, reshard

_PIECE = 2**24  # words that are summed at once


def weights_fingerprint(modules: Iterable[nn.Module]) -> str:
    """A hash of all parameters and buffers, computed where they lie.

    Args:
        modules: The modules whose weights decide the features.

    Returns:
        A hexadecimal string; equal weights give equal strings wherever they lie, one changed bit another one; so does
        an adapter of peft that is switched off. Of sharded weights each rank hashes its part, and all ranks get the
        hash of all parts: they agree on what is cached.
    """
    parts = list(modules)
    sharded = any(is_sharded(part) for part in parts)
    digest = hashlib.sha256()
    for module in parts:
        # A module at the root of FSDP keeps its weights gathered after a pass: hash the same form every time.
        reshard(module)
        tensors = [*module.named_parameters(), *module.named_buffers()]
        for name, value in tensors:
            digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update("".join(_other_adapters(module)).encode())
        for sums in _checksums(_numbers(module, [value for _, value in tensors])):
            digest.update(repr(sums).encode())
    mine = digest.hexdigest()
    return hashlib.sha256("".join(all_gather(mine)).encode()).hexdigest() if sharded else mine


def _numbers(module: nn.Module, values: Iterable[Tensor]) -> Iterator[Tensor]:
    """The values as this rank can read them, offloaded ones from where accelerate keeps them, one after another."""
    kept = {
        id(value): (hook.weights_map, name)
        for inner in module.modules()
        for hook in offload_hooks(inner)
        if getattr(hook, "weights_map", None) is not None
        for name, value in (*inner.named_parameters(recurse=False), *inner.named_buffers(recurse=False))
        if value.is_meta
    }
    for value in values:
        if id(value) in kept:
            where, name = kept[id(value)]
            value = where[name]
        part = local(value)
        if part.numel() and not part.is_meta:
            yield part.detach()


def _other_adapters(module: nn.Module) -> Iterator[str]:
    """Names of peft's layers that do not use the default adapter at present, and what they use."""
    for name, part in module.named_modules():
        active: Any = getattr(part, "active_adapters", None)
        used = [] if getattr(part, "disable_adapters", None) is True else active
        if isinstance(active, list) and used != ["default"]:
            yield f"{name} uses {used}"


def _checksums(values: Iterable[Tensor]) -> list[int]:
    """Order-aware 64-bit sums of the raw bytes, one transfer per device."""
    sums = [_checksum(value) for value in values]
    by_device: dict[torch.device, list[int]] = {}
    for i, value in enumerate(sums):
        by_device.setdefault(value.device, []).append(i)
    numbers = [0] * len(sums)
    for places in by_device.values():
        for i, number in zip(places, torch.stack([sums[i] for i in places]).tolist(), strict=True):
            numbers[i] = number
    return numbers


def _checksum(value: Tensor) -> Tensor:
    flat = value.contiguous().view(-1).view(torch.uint8)
    words = {8: torch.int64, 4: torch.int32, 2: torch.int16}.get(value.element_size(), torch.uint8)
    total = torch.zeros((), dtype=torch.int64, device=value.device)
    # In pieces: as 64-bit integers a large vocabulary's embeddings would take up tens of gigabytes.
    for start, piece in zip(count(0, _PIECE), torch.split(flat.view(words), _PIECE), strict=False):
        # Wrapping arithmetic modulo 2^64: a change of any word, or a swap of two, changes the sum.
        places = torch.arange(start + 1, start + piece.numel() + 1, device=value.device, dtype=torch.int64)
        total += (piece.to(torch.int64) * (places * 2 + 1)).sum()
    return total
