"""Standard errors from influence functions, and whether they can be trusted.

The derivative of an information in the weight of a pair is its pointwise information (:mod:`fusionscope.pid.local`), so
a standard error costs no solve. Pairs that share an image or a question are not independent: the variance is clustered
both ways. Where the dual is not unique (equal channels), the union information has a kink: its limit is not normal and
intervals from a standard error cover too little. The union information less H(Y) is convex in the source-answer masses,
so resampled values exceed their linear prediction; how much this excess varies measures the kink at the scale of the
sample.

Shapes: L problems, R replicates, A images, B questions, K answers.

Reference:
    Cameron, Gelbach, Miller (2011), Robust inference with multiway clustering; Fang, Santos (2019), Inference on
    directionally differentiable functions.
"""

import torch
from torch import Tensor

from fusionscope.pid.information import NATS_TO_BITS, entropy
from fusionscope.pid.local import with_atoms
from fusionscope.pid.union import Union, solve_union

NONREGULAR_AT = 0.3  # of the kink ratio; tools/check_pid.py shows the calibration
RESAMPLED_SHARE = 0.25  # of the units: perturbs by twice the sampling error, so a kink within reach of it is seen
_NOTICEABLE = 1e-3  # bits
_REPLICATES = 16
_TOLERANCE = 2e-4


def standard_errors(scores: dict[str, Tensor], w_LAB: Tensor, sampled: tuple[bool, bool]) -> dict[str, Tensor]:
    """Standard errors in bits [L] of all atoms and informations, over the sampled axes.

    Args:
        scores: Pointwise informations, nats [L, A, B].
        w_LAB: Weights of the pairs, summing to 1.
        sampled: Whether the images, and the questions, are a sample.
    """
    return {name: NATS_TO_BITS * _clustered(s_LAB, w_LAB, sampled) for name, s_LAB in with_atoms(scores).items()}


def _clustered(s_LAB: Tensor, w_LAB: Tensor, sampled: tuple[bool, bool]) -> Tensor:
    d_LAB = w_LAB * (s_LAB - (w_LAB * s_LAB).sum((1, 2), keepdim=True))
    a, b = d_LAB.shape[1:]
    images = (d_LAB.sum(2) ** 2).sum(1) * (a / max(a - 1, 1))
    questions = (d_LAB.sum(1) ** 2).sum(1) * (b / max(b - 1, 1))
    if sampled == (True, False):
        return images.sqrt()
    if sampled == (False, True):
        return questions.sqrt()
    if sampled == (False, False):
        return torch.zeros_like(images)
    pairs = (d_LAB**2).sum((1, 2)) * (a * b / max(a * b - 1, 1))
    return torch.maximum(images + questions - pairs, torch.maximum(images, questions)).sqrt()


def kink_ratio(joint_LABK: Tensor, union: Union, error_L: Tensor, sampled: tuple[bool, bool]) -> Tensor:
    """Spread of the excess of resampled union informations over their linear prediction, in standard errors [L].

    The mean of the excess is a bias and can be corrected; that it varies like the estimate itself is what a kink does.

    Args:
        joint_LABK: Weighted joint masses.
        union: The solution at the sample.
        error_L: Standard error of the union information, bits.
        sampled: Whether the images, and the questions, are a sample.
    """
    if not any(sampled):
        return torch.zeros_like(error_L)
    generator = torch.Generator().manual_seed(joint_LABK.shape[1])
    picks = [
        [_draw(n, s, generator) for n, s in zip(joint_LABK.shape[1:3], sampled, strict=True)]
        for _ in range(_REPLICATES)
    ]
    picks = [[axis.to(joint_LABK.device) for axis in pair] for pair in picks]
    drawn = torch.cat([joint_LABK.index_select(1, a).index_select(2, b) for a, b in picks])
    drawn = drawn / drawn.sum((1, 2, 3), keepdim=True).clamp(min=1e-300)
    p1, p2 = drawn.sum(2), drawn.sum(1)
    again = solve_union(p1, p2, _TOLERANCE)
    f, g = (torch.cat([u[:, pair[axis]] for pair in picks]) for axis, u in enumerate((union.f_LAK, union.g_LBK)))
    excess = again.value_L - entropy(p1.sum(1)) - (p1 * f).sum((1, 2)) - (p2 * g).sum((1, 2))
    return in_standard_errors(NATS_TO_BITS * excess.view(_REPLICATES, -1), error_L)


def _draw(n: int, is_sampled: bool, generator: torch.Generator) -> Tensor:
    if not is_sampled:
        return torch.arange(n)
    return torch.randint(n, (max(2, round(RESAMPLED_SHARE * n)),), generator=generator)


def in_standard_errors(excess_RL: Tensor, error_L: Tensor) -> Tensor:
    """Spread of the excess over replicates, in standard errors of what the replicates were drawn from."""
    spread_L = RESAMPLED_SHARE**0.5 * excess_RL.std(0)
    return torch.where(spread_L > _NOTICEABLE, spread_L / error_L.clamp(min=1e-12), torch.zeros_like(spread_L))


def resample(
    joint_LABK: Tensor, sampled: tuple[bool, bool], generator: torch.Generator, share: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws the sampled axes with replacement, the same draw for every problem.

    Args:
        joint_LABK: Weighted joint masses.
        sampled: Which of the axes are drawn.
        generator: Of the draws; on the CPU, so that devices agree.
        share: Draws per axis as a share of its size; under 1 for subsampling.

    Returns:
        The masses of what was drawn, renormalised, without rows and columns that were not; and which ones remain.
    """
    kept = [torch.arange(size, device=joint_LABK.device) for size in joint_LABK.shape[1:3]]
    for axis, is_sampled in enumerate(sampled):
        if is_sampled:
            n = joint_LABK.shape[1 + axis]
            picks = torch.randint(n, (max(2, round(share * n)),), generator=generator)
            counts_N = torch.bincount(picks, minlength=n).to(joint_LABK)
            kept[axis] = counts_N.nonzero()[:, 0]
            counts = counts_N[kept[axis]].view([-1 if dim == 1 + axis else 1 for dim in range(4)])
            joint_LABK = joint_LABK.index_select(1 + axis, kept[axis]) * counts
    joint_LABK = joint_LABK / joint_LABK.sum((1, 2, 3), keepdim=True).clamp(min=1e-300)
    return joint_LABK, kept[0], kept[1]
