"""Conversations read as they come, for data that shall not be stored: the same batches on any number of ranks."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import torch
from torch.utils.data import IterableDataset, get_worker_info

from fusionscope.data.llava import folder_of, opened, undecoded
from fusionscope.data.marked import Marked, placeholder
from fusionscope.data.rows import rows_of
from fusionscope.errors import BadImageError, DataError
from fusionscope.tasks.sources import HUB, hub_name


class LlavaStream:
    """Rows in LLaVA's format, streamed through `datasets` from the hub, or from a local file.

    A resumed run reads the rows before its place once more (their images stay closed).

    Args:
        path: A JSON list or JSON lines, or a data set of the hub, ``hub:owner/name``.
        n: Its number of rows, which a learning rate's cosine must know; what comes after them is left out.
        image_folder: Where image paths start: a folder, a .zip or .tar file, or an address that fsspec opens; the
            file's own folder by default.
        split: Split of the data set on the hub.
        buffer: Number of rows that are held to draw from, where the order is shuffled.
        allow_outside: Whether image paths may lead out of ``image_folder`` (``..``, absolute, symbolic links).
    """

    def __init__(
        self,
        path: str,
        n: int,
        image_folder: str | None = None,
        split: str = "train",
        buffer: int = 10_000,
        allow_outside: bool = False,
    ) -> None:
        self.path = path
        self.n = n
        self.split = split
        self.buffer = buffer
        self.image_folder = folder_of(path, image_folder, allow_outside=allow_outside)

    def __len__(self) -> int:
        return self.n

    def rows(self, seed: int | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Numbered rows, images closed; in the order of the source, or drawn from the buffer with a seed."""
        numbered = enumerate(islice(self._source(), self.n))
        return numbered if seed is None else shuffled(numbered, self.buffer, seed)

    def open(self, number: int, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row with its images.

        Raises:
            BadImageError: One cannot be read.
        """
        return opened(row, f"{self.path} row {number + 1}", self.image_folder)

    def _source(self) -> Iterator[Mapping[str, Any]]:
        if not self.path.startswith(HUB):
            return rows_of(str(Path(self.path).expanduser()))
        name, configuration = hub_name(self.path)
        rows = datasets.load_dataset(name, configuration, split=self.split, streaming=True)
        return iter(undecoded(rows))


def shuffled(items: Iterator[Any], buffer: int, seed: int) -> Iterator[Any]:
    """Draw from a buffer that the next items fill up.

    Args:
        items: What to shuffle.
        buffer: Items to draw from.
        seed: Seed of the draws.

    >>> sorted(shuffled(iter(range(5)), 2, seed=0))
    [0, 1, 2, 3, 4]
    """
    generator = torch.Generator().manual_seed(seed)
    held = list(islice(items, buffer))
    for item in items:
        place = int(torch.randint(len(held), (1,), generator=generator))
        yield held[place]
        held[place] = item
    for place in torch.randperm(len(held), generator=generator).tolist():
        yield held[place]


class StreamedBatches(IterableDataset[list[Marked]]):
    """Batches of one rank, as `ResumableBatchSampler` cuts them, from a stream.

    Args:
        stream: The rows.
        batch_size: Samples per rank and batch.
        seed: Seed of the order; None for the source's.
        rank: This process.
        ranks: Number of processes.
        drop_last: Leave out an uneven last batch.
        skip_bad: Skip rows with bad images in place of failing.
    """

    def __init__(
        self,
        stream: LlavaStream,
        batch_size: int,
        *,
        seed: int | None,
        rank: int = 0,
        ranks: int = 1,
        drop_last: bool = False,
        skip_bad: bool = False,
    ) -> None:
        self.stream = stream
        self.size = batch_size * ranks
        self.seed = seed
        self.n_samples = len(stream)
        self.rank = rank
        self.ranks = ranks
        self.drop_last = drop_last
        self.skip_bad = skip_bad
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        whole, rest = divmod(len(self.stream), self.size)
        return whole + (rest > 0 and not self.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Begin another epoch, with an order of its own."""
        self.epoch = epoch
        self.start = 0

    def __iter__(self) -> Iterator[list[Marked]]:
        worker = get_worker_info()
        mine, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        rows = self.stream.rows(None if self.seed is None else self.seed * 1_000_003 + self.epoch)
        for number in range(len(self)):
            batch = list(islice(rows, self.size))
            if not batch:
                raise DataError(
                    f"{self.stream.path} ended after {number} batches of {self.size}",
                    f"it was said to have {len(self.stream)} rows",
                    "correct n",
                )
            if number >= self.start and (number - self.start) % workers == mine:
                yield [self._marked(number, row) for number, row in batch[self.rank :: self.ranks]] or [placeholder()]

    def _marked(self, number: int, row: Mapping[str, Any]) -> Marked:
        try:
            return Marked(row=self.stream.open(number, row))
        except BadImageError as error:
            if not self.skip_bad:
                raise
            return placeholder(skipped=error.what)
