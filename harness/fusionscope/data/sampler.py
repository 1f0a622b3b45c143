"""Which samples make which batch: a pure function of the seed and the epoch, the same on any number of ranks."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import BatchSampler

FILLER = -1
"""Stands in a batch for a sample that another rank has: its labels are all ignored, so it counts for nothing."""


class ResumableBatchSampler(BatchSampler):
    """Batches of one rank, which can begin anywhere in an epoch.

    The epoch is cut into global batches of ``batch_size * ranks`` samples first; then each rank takes every
    ``ranks``-th sample of each. So the samples of a global batch don't depend on the number of ranks, as long as
    ``batch_size * ranks`` stays. In an uneven last batch a rank without a sample of its own gets a `FILLER`.

    Args:
        n_samples: Samples of the dataset.
        batch_size: Samples per rank and batch.
        seed: Seed of the order.
        shuffle: Draw a new order for each epoch; False keeps the dataset's.
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
        rank: int = 0,
        ranks: int = 1,
        drop_last: bool = False,
    ) -> None:
        self.n_samples, self.batch_size, self.seed, self.shuffle = n_samples, batch_size, seed, shuffle
        self.rank, self.ranks, self.drop_last = rank, ranks, drop_last
        self.epoch = self.start = 0
        self.sampler = self  # type: ignore[assignment]  # where Lightning looks for `set_epoch`

    def __len__(self) -> int:
        whole, rest = divmod(self.n_samples, self.batch_size * self.ranks)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        batches, start = self.global_batches(), self.start
        self.start = 0
        for batch in batches[start:]:
            yield list(batch[self.rank :: self.ranks]) or [FILLER]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def global_batches(self) -> list[Sequence[int]]:
        """The batches of the epoch over all ranks together."""
        order = self.order()
        size = self.batch_size * self.ranks
        return [order[i * size : (i + 1) * size] for i in range(len(self))]

    def order(self) -> list[int]:
        """The samples of the epoch in order."""
        if not self.shuffle:
            return list(range(self.n_samples))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order: list[int] = torch.randperm(self.n_samples, generator=generator).tolist()
        return order
