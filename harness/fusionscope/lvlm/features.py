"""Vision features kept across probes: while the tower is frozen, an image is encoded once."""

import hashlib
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from torch import Tensor

from fusionscope.errors import InputError

Key = tuple[str, str]


class FeatureCache:
    """Features of images by (hash of weights and processing, image), on the CPU up to a size, and on disk if asked.

    When it is full, features of other weights than the present ones leave; features of the present weights are
    never thrown out for one another, since a probe visits all images in the same order every time.

    Args:
        max_bytes: The cap on the tensors in memory.
        directory: Where features are kept as well, for later processes and for what does not fit into memory. A probe's
            keys are digests of the images' content, so that one directory serves any number of tasks.

    Example:
        >>> import torch
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
        """The features under a key, or None.

        Raises:
            InputError: Their file is damaged.
        """
        features = self._entries.get(key)
        if features is None:
            features = self._from_disk(key)
            if features is not None:
                self._keep(key, features)
        self.hits += features is not None
        self.misses += features is None
        return features

    def put(self, key: Key, features: dict[str, Tensor]) -> bool:
        """Keep features; False where they do not fit under the cap and no directory is given.

        Raises:
            InputError: The directory cannot be written to.
        """
        stored = {name: value.detach().to("cpu", copy=True) for name, value in features.items()}
        fits = self._keep(key, stored)
        return self._to_disk(key, stored) or fits

    def _keep(self, key: Key, stored: dict[str, Tensor]) -> bool:
        size = _nbytes(stored)
        self._drop_others(key[0], size)
        fits = key not in self._entries and self.nbytes + size <= self.max_bytes
        if fits:
            self._entries[key] = stored
            self.nbytes += size
        return fits

    def _file(self, directory: Path, key: Key) -> Path:
        return directory / f"{hashlib.sha256(repr(key).encode()).hexdigest()}.safetensors"

    def _from_disk(self, key: Key) -> dict[str, Tensor] | None:
        if self.directory is None or not self._file(self.directory, key).is_file():
            return None
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        file = self._file(self.directory, key)
        try:
            return load_file(file)
        except SafetensorError as error:
            raise InputError(f"{file} is damaged", str(error), "delete it; its features are made again") from error

    def _to_disk(self, key: Key, stored: dict[str, Tensor]) -> bool:
        if self.directory is None:
            return False
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        file = self._file(self.directory, key)
        # Written whole or not at all, also where several processes, on several machines, fill one folder.
        unfinished = file.with_suffix(f".{uuid4().hex}")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            save_file({name: value.contiguous() for name, value in stored.items()}, unfinished)
            unfinished.replace(file)
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"features cannot be written to {self.directory}",
                str(error),
                "make room there, or use another directory",
            ) from error
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
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
