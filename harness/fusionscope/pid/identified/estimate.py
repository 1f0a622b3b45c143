"""An estimate with the influence of every row, so that estimates can be added, chosen among and given one error.

Shapes: L problems, N rows, F folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

ENDS = ("lower", "upper")


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """How rows hang together, and how they are dealt into folds.

    Args:
        image_N: The row's image, numbered from 0, int64.
        question_N: The row's question, numbered from 0, int64; None where the questions are no sample.
        weights_N: Weights of the rows, summing to 1, float64.
        fold_N: The fold of the row's image, int64.
        sampled_fraction: How much of a finite population of images is sampled: the variance vanishes as it nears 1.
    """

    image_N: Tensor
    question_N: Tensor | None
    weights_N: Tensor
    fold_N: Tensor
    sampled_fraction: float = 0.0

    @cached_property
    def folds(self) -> int:
        return int(self.fold_N.max()) + 1

    @cached_property
    def units(self) -> int:
        """The number of clusters of the smaller kind."""
        return min(self._images, self._questions or self._images)

    @cached_property
    def _images(self) -> int:
        return int(self.image_N.max()) + 1

    @cached_property
    def _questions(self) -> int:
        return 0 if self.question_N is None else int(self.question_N.max()) + 1

    def covariance(self, influence_LND: Tensor) -> Tensor:
        """Clustered covariance [L, D, D] of what sums over rows to an estimate's error."""
        total = _squares(influence_LND, self.image_N, self._images)
        if self.question_N is not None:
            total = total + _squares(influence_LND, self.question_N, self._questions)
        return total * (1 - self.sampled_fraction)

    def variance(self, influence_LN: Tensor) -> Tensor:
        """Variance [L]; of two ways, images' plus questions' less rows', and no less than either alone."""
        images = _squares(influence_LN[..., None], self.image_N, self._images)[:, 0, 0]
        if self.question_N is None:
            return images * (1 - self.sampled_fraction)
        questions = _squares(influence_LN[..., None], self.question_N, self._questions)[:, 0, 0]
        both = images + questions - influence_LN.square().sum(-1)
        return torch.maximum(both, torch.maximum(images, questions)) * (1 - self.sampled_fraction)


def _squares(influence_LND: Tensor, cluster_N: Tensor, count: int) -> Tensor:
    sums = influence_LND.new_zeros(influence_LND.shape[0], count, influence_LND.shape[2])
    sums = sums.index_add(1, cluster_N, influence_LND)
    return sums.mT @ sums * (count / max(1, count - 1))


@dataclass(frozen=True)
class Estimate:
    """A value and its influences.

    Args:
        value_L: float64.
        influence_LN: What every row adds to the estimate's error; each problem's sum is 0, float64.
        curved_L: Standard deviation of what the entropy of p(y) adds to it at second order, signed, float64: all there
            is where the answers are balanced and the entropy is flat.
    """

    value_L: Tensor
    influence_LN: Tensor
    curved_L: Tensor

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(
            self.value_L + other.value_L, self.influence_LN + other.influence_LN, self.curved_L + other.curved_L
        )

    def __neg__(self) -> "Estimate":
        return Estimate(-self.value_L, -self.influence_LN, -self.curved_L)

    def __sub__(self, other: "Estimate") -> "Estimate":
        return self + (-other)

    def error(self, clusters: Clusters) -> Tensor:
        """Standard error [L]."""
        return (clusters.variance(self.influence_LN) + self.curved_L**2).sqrt()

    def rows(self, weights_N: Tensor) -> Tensor:
        """Values of the rows [L, N], whose weighted mean is the estimate."""
        return self.value_L[:, None] + self.influence_LN / weights_N


def mean_of(rows_LN: Tensor, weights_N: Tensor) -> Estimate:
    """The weighted mean of values of rows, with its influences; any leading dimensions."""
    value_L = rows_LN @ weights_N
    return Estimate(value_L, weights_N * (rows_LN - value_L[..., None]), torch.zeros_like(value_L))


def best(candidates: Sequence[Estimate], clusters: Clusters, radius: float, end: str) -> Estimate:
    """The sharpest of several bounds of one quantity, chosen for every fold by the other folds.

    Args:
        candidates: Estimates of bounds, all valid.
        clusters: Of the rows.
        radius: Standard errors that a bound will be reported with; they count in the choice.
        end: ``"lower"`` takes the greatest, ``"upper"`` the least.
    """
    sign = 1.0 if end == "lower" else -1.0
    w = clusters.weights_N
    rows_CLN = torch.stack([c.rows(w) for c in candidates])
    error_CL = torch.stack([c.error(clusters) for c in candidates])
    curved_CL = torch.stack([c.curved_L for c in candidates])
    chosen_LN, curved_L = torch.zeros_like(rows_CLN[0]), torch.zeros_like(curved_CL[0])
    for fold in range(clusters.folds):
        others_N = w * (clusters.fold_N != fold)
        value_CL = rows_CLN @ (others_N / others_N.sum())
        pick_L = (sign * value_CL - radius * error_CL).argmax(0)
        here_N = clusters.fold_N == fold
        picked = rows_CLN[:, :, here_N].gather(0, pick_L[None, :, None].expand(1, -1, int(here_N.sum())))[0]
        chosen_LN[:, here_N] = picked
        curved_L = curved_L + w[here_N].sum() * curved_CL.gather(0, pick_L[None])[0]
    return replace(mean_of(chosen_LN, w), curved_L=curved_L)
