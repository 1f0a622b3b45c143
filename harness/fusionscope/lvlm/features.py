"""Vision features kept across probes: the tower is frozen, so an image is looked at once."""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusionscope.lvlm.sharding import from_all_ranks, is_sharded

Key = tuple[str, str]


class FeatureCache:
    """Features of images by (weights fingerprint, image), on the CPU up to a number of bytes, and on disk if asked.

    When it is full, features of other weights than the present ones leave; features of the present weights are
    never thrown out for one another, since a probe visits all images in the same order every time.

    Args:
        max_bytes: The cap on the tensors in memory.
        directory: Where features are kept as well, for later processes and for what does not fit into memory.

    Example:
        >>> cache = FeatureCache(max_bytes=16)
        >>> cache.put(("w1", "a"), {"features": torch.zeros(4)})
        True
        >>> cache.put(("w1", "b"), {"features": torch.zeros(4)})
        False
        >>> cache.put(("w2", "a"), {"features": torch.zeros(4)}), ("w1", "a") in cache
        (True, False)
    """

    def __init__(self, max_bytes: int = 2 * 2**30, directory: str | Path | None = None) -> None:
        self.max_bytes = max_bytes
        self.directory = None if directory is None else Path(directory)
        self.nbytes = 0
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[Key, dict[str, Tensor]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def get(self, key: Key) -> dict[str, Tensor] | None:
        """The features under a key, or None."""
        found = self._entries.get(key)
        if found is None:
            found = self._from_disk(key)
        self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
        return found

    def put(self, key: Key, features: dict[str, Tensor]) -> bool:
        """Keep features; False where they do not fit under the cap and no directory is given."""
        stored = {name: value.detach().to("cpu", copy=True) for name, value in features.items()}
        size = _nbytes(stored)
        self._drop_others(key[0], size)
        fits = key not in self._entries and self.nbytes + size <= self.max_bytes
        if fits:
            self._entries[key] = stored
            self.nbytes += size
        return self._to_disk(key, stored) or fits

    def _file(self, directory: Path, key: Key) -> Path:
        return directory / f"{hashlib.sha256(repr(key).encode()).hexdigest()}.safetensors"

    def _from_disk(self, key: Key) -> dict[str, Tensor] | None:
        if self.directory is None or not self._file(self.directory, key).is_file():
            return None
        from safetensors.torch import load_file

        return load_file(self._file(self.directory, key))

    def _to_disk(self, key: Key, stored: dict[str, Tensor]) -> bool:
        if self.directory is None:
            return False
        from safetensors.torch import save_file

        self.directory.mkdir(parents=True, exist_ok=True)
        file = self._file(self.directory, key)
        # Written whole or not at all, also where several processes fill one folder.
        unfinished = file.with_suffix(f".{os.getpid()}")
        save_file({name: value.contiguous() for name, value in stored.items()}, unfinished)
        unfinished.replace(file)
        return True

    def clear(self) -> None:
        """Forget everything in memory."""
        self._entries.clear()
        self.nbytes = 0

    def _drop_others(self, fingerprint: str, needed: int) -> None:
        for key in [key for key in self._entries if key[0] != fingerprint]:
            if self.nbytes + needed <= self.max_bytes:
                return
            self.nbytes -= _nbytes(self._entries.pop(key))


def _nbytes(features: dict[str, Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in features.values())


def weights_fingerprint(modules: Iterable[nn.Module]) -> str:
    """A hash of all parameters and buffers, computed where they lie.

    Args:
        modules: The modules whose weights decide the features.

    Returns:
        A hexadecimal string; equal weights give equal strings, one changed bit another one. Of sharded weights each
        rank hashes its part, and all ranks get the hash of all parts: they agree on what is cached.
    """
    parts = list(modules)
    sharded = any(is_sharded(part) for part in parts)
    digest = hashlib.sha256()
    for module in parts:
        # A module at the root of FSDP keeps its weights gathered after a pass: hash the same form every time.
        inner: Any
        for inner in module.modules():
            if hasattr(inner, "reshard"):
                inner.reshard()
        tensors = [*module.named_parameters(), *module.named_buffers()]
        for name, value in tensors:
            digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        local = [value.to_local() if hasattr(value, "to_local") else value for _, value in tensors]
        for sums in _checksums([one.detach() for one in local if one.numel() and not one.is_meta]):
            digest.update(repr(sums).encode())
    mine = digest.hexdigest()
    return hashlib.sha256("".join(from_all_ranks(mine)).encode()).hexdigest() if sharded else mine


def _checksums(values: list[Tensor]) -> list[int]:
    """Order-aware 64-bit sums of the raw bytes, one transfer per device."""
    sums = [_checksum(value) for value in values]
    by_device: dict[torch.device, list[Tensor]] = {}
    for value in sums:
        by_device.setdefault(value.device, []).append(value)
    return [number for group in by_device.values() for number in torch.stack(group).tolist()]


def _checksum(value: Tensor) -> Tensor:
    flat = value.contiguous().view(-1).view(torch.uint8)
    words = {8: torch.int64, 4: torch.int32, 2: torch.int16}.get(value.element_size(), torch.uint8)
    numbers = flat.view(words).to(torch.int64)
    # Wrapping arithmetic modulo 2^64: a change of any word, or a swap of two, changes the sum.
    places = torch.arange(1, numbers.numel() + 1, device=value.device, dtype=torch.int64)
    return (numbers * (places * 2 + 1)).sum()
