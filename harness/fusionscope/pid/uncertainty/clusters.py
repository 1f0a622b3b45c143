"""Pairs that have an image or a question in common are not independent: variances clustered both ways.

Shapes: L problems, N pairs, G units of a partition.

Reference:
    Cameron, Gelbach, Miller (2011), Robust inference with multiway clustering; Satterthwaite (1946), An approximate
    distribution of estimates of variance components.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Pairs grouped into units.

    Args:
        of_N: The unit of every pair, numbered from 0, int64.
        n: G, the number of units.
        sign: 1 for units that were drawn independently; -1 for cells of equal image and question, whose variation is in
            both of the others.
    """

    of_N: Tensor
    n: int
    sign: int = 1

    def sums(self, x_LN: Tensor) -> Tensor:
        """Sums over the pairs of each unit ``[L, G]``."""
        return x_LN.new_zeros(len(x_LN), self.n).index_add_(1, self.of_N, x_LN)


def partitions(images_N: Tensor, questions_N: Tensor, sampled: tuple[bool, bool]) -> list[Partition]:
    """How pairs are grouped for a variance: by what was sampled; two ways and their cells where both were and cross.

    Args:
        images_N: The image of every pair, numbered from 0.
        questions_N: The question of every pair.
        sampled: Whether the images, and the questions, are a sample.
    """
    images, questions = (_partition(units_N) for units_N in (images_N, questions_N))
    if sampled == (False, False):
        return []
    if sampled != (True, True):
        return [images if sampled[0] else questions]
    cells = _partition(torch.unique(images_N * questions.n + questions_N, return_inverse=True)[1], sign=-1)
    if questions.n == cells.n:
        return [images]
    if images.n == cells.n:
        return [questions]
    return [images, questions, cells]


def _partition(units_N: Tensor, sign: int = 1) -> Partition:
    return Partition(of_N=units_N, n=int(units_N.max()) + 1, sign=sign)


def clustered(d_LN: Tensor, w_LN: Tensor, by: Sequence[Partition]) -> tuple[Tensor, Tensor]:
    """The variance ``[L]`` of a sum of influences, at least that of either way alone, and its degrees of freedom.

    Units count one degree fewer than for a mean: informations are curved, and with as few as four questions intervals
    hold too rarely otherwise (tools/check_paired_errors.py).

    Args:
        d_LN: Weighted, centred influences of the pairs.
        w_LN: Weights of the pairs; a unit without weight does not count.
        by: The partitions; without any there is no sampling.
    """
    total_L, least_L, spread_L = (torch.zeros_like(d_LN[:, 0]) for _ in range(3))
    for partition in by:
        counts_L = (partition.sums(w_LN) > 0).sum(1).to(d_LN)
        variance_L = (partition.sums(d_LN) ** 2).sum(1) * counts_L / (counts_L - 1).clamp(min=1)
        total_L = total_L + partition.sign * variance_L
        if partition.sign > 0:
            spread_L = spread_L + variance_L**2 / (counts_L - 2).clamp(min=1)
            least_L = torch.maximum(least_L, variance_L)
    variance_L = torch.maximum(total_L, least_L)
    return variance_L, (variance_L**2 / spread_L.clamp(min=1e-300)).clamp(min=1.0)
