"""Which samples make which batch: a pure function of the seed and the epoch, the same on any number of ranks."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DistributedSampler

from fusionscope.errors import InputError

_STRETCH = 50
FILLER = -1
"""Stands in a batch for a sample that another rank has: its labels are all ignored, so it counts for nothing."""


class ResumableBatchSampler(DistributedSampler[Any]):
    """Batches of one rank, which can begin anywhere in an epoch.

    It is a DistributedSampler, so that Lightning leaves it alone and sets its epoch; it hands out whole batches, for a
    DataLoader with ``batch_size=None``.

    The epoch is cut into global batches of ``batch_size * ranks`` samples first; then each rank takes every
    ``ranks``-th sample of each. So the samples of a global batch don't depend on the number of ranks, as long as
    ``batch_size * ranks`` stays. In an uneven last batch a rank without a sample of its own gets a `FILLER`.

    Args:
        n_samples: Samples of the dataset.
        batch_size: Samples per rank and batch.
        seed: Seed of the order.
        shuffle: Draw a new order for each epoch; False keeps the dataset's.
        lengths: A length per sample, negative for those without an image (LLaVA's ``group_by_modality_length``):
            samples of similar length and the same modality share a batch; what doesn't fill one is mixed.
        rank: This process.
        ranks: Number of processes.
        drop_last: Leave out an uneven last batch.
    """

    def __init__(
        self,
        n_samples: int,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        lengths: Sequence[int] | None = None,
        rank: int = 0,
        ranks: int = 1,
        drop_last: bool = False,
    ) -> None:
        if lengths is not None and len(lengths) != n_samples:
            raise InputError(f"{len(lengths)} lengths for {n_samples} samples", "each needs one", "give as many")
        super().__init__(
            range(n_samples),  # type: ignore[arg-type]  # only its length matters
            num_replicas=ranks,
            rank=rank,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
        )
        self.n_samples = n_samples
        self.size = batch_size * ranks
        self.lengths = lengths
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        """Begin another epoch at its start, however far the last one came (``limit_train_batches``)."""
        if epoch != self.epoch:
            self.start = 0
        super().set_epoch(epoch)

    def __len__(self) -> int:
        whole, rest = divmod(self.n_samples, self.size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        batches, start = self.global_batches(), self.start
        self.start = 0
        for batch in batches[start:]:
            yield list(batch[self.rank :: self.num_replicas]) or [FILLER]

    def global_batches(self) -> list[list[int]]:
        """The batches of the epoch over all ranks together."""
        if self.lengths is None or not self.shuffle:
            return _cut(self.order(), self.size)[: len(self)]
        generator = self._generator()
        order: list[int] = torch.randperm(self.n_samples, generator=generator).tolist()
        batches, rest = grouped(order, self.lengths, self.size)
        mixed = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
        return [*mixed, *_cut(rest, self.size)][: len(self)]

    def order(self) -> list[int]:
        """The samples of the epoch in order."""
        if not self.shuffle:
            return list(range(self.n_samples))
        order: list[int] = torch.randperm(self.n_samples, generator=self._generator()).tolist()
        return order

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)


def grouped(order: Sequence[int], lengths: Sequence[int], size: int) -> tuple[list[list[int]], list[int]]:
    """Full batches of one modality and similar lengths, and the samples that fill none.

    Samples are sorted by length only within stretches of 50 batches, so that chance still decides which meet.

    Args:
        order: Samples in random order.
        lengths: A length per sample, negative for those without an image.
        size: Samples per batch.

    >>> grouped([0, 1, 2, 3, 4], [9, -1, 2, -7, 5], 2)
    ([[0, 2], [3, 1]], [4])
    """
    batches: list[list[int]] = []
    rest: list[int] = []
    for with_image in (True, False):
        mine = [i for i in order if (lengths[i] >= 0) == with_image]
        full = len(mine) // size * size
        for stretch in _cut(mine[:full], size * _STRETCH):
            batches += _cut(sorted(stretch, key=lambda i: -abs(lengths[i])), size)
        rest += mine[full:]
    return batches, rest


def _cut(items: Sequence[int], size: int) -> list[list[int]]:
    return [list(items[i : i + size]) for i in range(0, len(items), size)]
