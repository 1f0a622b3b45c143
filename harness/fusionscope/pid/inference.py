"""Standard errors of crossed designs from influence functions, and subsamples to judge them by.

The derivative of an information in the weight of a pair is its pointwise information (:mod:`fusionscope.pid.local`), so
a standard error costs no solve. Pairs that share an image or a question are not independent: the variance is clustered
both ways. Where that suffices, and what is added where it does not, is the matter of
:mod:`fusionscope.pid.regularity`.

Shapes: L problems, R subsamples, A images, B questions, K answers.

Reference:
    Cameron, Gelbach, Miller (2011), Robust inference with multiway clustering.
"""

import torch
from torch import Tensor

from fusionscope.pid.information import NATS_TO_BITS
from fusionscope.pid.local import local_scores, with_atoms
from fusionscope.pid.regularity import SHARE, SUBSAMPLE_TOLERANCE, SUBSAMPLES, Subsamples
from fusionscope.pid.union import solve_union

_MOST_NUMBERS = 2**22  # in the subsamples that are decomposed at once


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


def subsampled(p_LABK: Tensor, w_LAB: Tensor, scores: dict[str, Tensor], sampled: tuple[bool, bool]) -> Subsamples:
    """Decomposes subsamples of the sampled axes, many at once.

    Args:
        p_LABK: p(y | a, b).
        w_LAB: Weights of the pairs, summing to 1.
        scores: Pointwise informations of the whole, nats [L, A, B].
        sampled: Whether the images, and the questions, are a sample.
    """
    generator = torch.Generator().manual_seed(p_LABK.shape[1])
    sizes = p_LABK.shape[1:3]
    picks = [
        [_draw(n, s, generator).to(p_LABK.device) for n, s in zip(sizes, sampled, strict=True)]
        for _ in range(SUBSAMPLES)
    ]
    at_once = max(1, _MOST_NUMBERS // (len(p_LABK) * len(picks[0][0]) * len(picks[0][1]) * p_LABK.shape[3]))
    parts = [
        _decompose_some(p_LABK, w_LAB, scores, picks[i : i + at_once], sampled) for i in range(0, SUBSAMPLES, at_once)
    ]
    values, predicted, errors = (
        {name: torch.cat([part[i][name] for part in parts]) for name in parts[0][i]} for i in range(3)
    )
    return Subsamples(values=values, predicted=predicted, errors=errors)


def _draw(n: int, is_sampled: bool, generator: torch.Generator) -> Tensor:
    if not is_sampled:
        return torch.arange(n)
    return torch.randint(n, (max(2, round(SHARE * n)),), generator=generator)


def _decompose_some(
    p_LABK: Tensor,
    w_LAB: Tensor,
    scores: dict[str, Tensor],
    picks: list[list[Tensor]],
    sampled: tuple[bool, bool],
) -> tuple[dict[str, Tensor], ...]:
    """Values, predictions and standard errors of some subsamples, bits [R, L] each."""

    def drawn(x: Tensor) -> Tensor:
        return torch.cat([x.index_select(1, a).index_select(2, b) for a, b in picks])

    p, w = drawn(p_LABK), drawn(w_LAB)
    w = w / w.sum((1, 2), keepdim=True).clamp(min=1e-300)
    joint = p * w[..., None]
    union = solve_union(joint.sum(2), joint.sum(1), SUBSAMPLE_TOLERANCE)
    own = local_scores(p, joint, union)
    predicted = {name: (w * drawn(s_LAB)).sum((1, 2)) for name, s_LAB in scores.items()}
    values = {name: (w * s).sum((1, 2)) for name, s in own.items()} | {"union": union.value_L}
    errors = standard_errors(own, w, sampled)

    def by_subsample(found: dict[str, Tensor], scale: float = 1.0) -> dict[str, Tensor]:
        return {name: (scale * x).view(len(picks), -1) for name, x in found.items()}

    bits = (by_subsample(with_atoms(x), NATS_TO_BITS) for x in (values, predicted))
    return *bits, by_subsample(errors)


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
