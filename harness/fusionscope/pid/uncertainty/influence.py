"""Standard errors of crossed designs from influence functions, and halves to judge them by.

The derivative of an information in the weight of a pair is its pointwise information (:mod:`fusionscope.pid.local`), so
a standard error costs no solve. Pairs that share an image or a question are not independent: the variance is clustered
both ways, and what varies with the pair alone, which both sums hold, is taken off once: to second order, since for
small effects it is of the same size as they are. Where that suffices, and what is done where it does not, is the matter
of :mod:`fusionscope.pid.uncertainty.regularity`.

Shapes: L problems, R parts of the grid, A images, B questions, K answers.

Reference:
    Cameron, Gelbach, Miller (2011), Robust inference with multiway clustering; Efron, Stein (1981), The jackknife
    estimate of variance (mixed differences).
"""

import torch
from torch import Tensor

from fusionscope.pid import device
from fusionscope.pid.information import NATS_TO_BITS
from fusionscope.pid.local import local_scores, with_atoms
from fusionscope.pid.uncertainty.regularity import HALF_TOLERANCE, Halves, drawn, pairs_of
from fusionscope.pid.uncertainty.splits import in_content_order, parts_of_grid
from fusionscope.pid.union import solve_union


def standard_errors(
    scores: dict[str, Tensor], joint_LABK: Tensor, w_LAB: Tensor, sampled: tuple[bool, bool]
) -> dict[str, Tensor]:
    """Standard errors in bits [L] of all atoms and informations, over the sampled axes.

    Args:
        scores: Pointwise informations, nats [L, A, B].
        joint_LABK: Weighted joint masses.
        w_LAB: Weights of the pairs, summing to 1.
        sampled: Whether the images, and the questions, are a sample.
    """
    first = with_atoms({name: w_LAB * (s - (w_LAB * s).sum((1, 2), keepdim=True)) for name, s in scores.items()})
    interaction_LAB = _interaction_of_answers(joint_LABK)
    both = with_atoms({name: w_LAB * s - interaction_LAB for name, s in scores.items()})
    return {name: NATS_TO_BITS * _clustered(first[name], both[name], sampled) for name in first}


def _interaction_of_answers(joint_LABK: Tensor) -> Tensor:
    """The mixed second derivative of minus H(Y) in the weights of an image and of a question, ``[L, A, B]``.

    The mixed derivative of an information is the pointwise information less this; the two cancel in great part where
    answers depend on both, and their difference alone varies with the pair. Of the union information it is that where
    either source dominates, and otherwise leaves out how the potentials move.
    """
    p1_LAK, p2_LBK = joint_LABK.sum(2), joint_LABK.sum(1)
    py_L1K = p1_LAK.sum(1, keepdim=True)
    return p1_LAK @ (p2_LBK / torch.where(py_L1K > 0, py_L1K, 1.0)).mT


def _clustered(first_LAB: Tensor, both_LAB: Tensor, sampled: tuple[bool, bool]) -> Tensor:
    """From first derivatives, whose sums over an axis are the other's influence, and mixed second ones."""
    a, b = first_LAB.shape[1:]
    images = (first_LAB.sum(2) ** 2).sum(1) * (a / max(a - 1, 1))
    questions = (first_LAB.sum(1) ** 2).sum(1) * (b / max(b - 1, 1))
    if sampled == (True, False):
        return images.sqrt()
    if sampled == (False, True):
        return questions.sqrt()
    if sampled == (False, False):
        return torch.zeros_like(images)
    rest_LAB = both_LAB - both_LAB.mean(1, keepdim=True)
    rest_LAB = rest_LAB - rest_LAB.mean(2, keepdim=True)
    pairs = (rest_LAB**2).sum((1, 2)) * (a * b / max((a - 1) * (b - 1), 1))
    return torch.maximum(images + questions - pairs, torch.maximum(images, questions)).sqrt()


def halved(p_LABK: Tensor, w_LAB: Tensor, whole: dict[str, Tensor], axes: tuple[bool, bool]) -> Halves:
    """Decomposes random halves of a grid, many at once; quarters where both axes are halved.

    Args:
        p_LABK: p(y | a, b).
        w_LAB: Weights of the pairs, summing to 1.
        whole: The four informations of the whole, nats [L].
        axes: Which of the axes are halved: images, questions. One without two units is left whole.
    """
    a, b = (is_halved and n > 1 for is_halved, n in zip(axes, w_LAB.shape[1:], strict=True))
    if not (a or b):
        alone = {name: x.expand(2, 2, -1) for name, x in _bits(whole).items()}
        return Halves(whole=_bits(whole), values=alone, errors={name: torch.zeros_like(x) for name, x in alone.items()})
    p_LABK, w_LAB = in_content_order(p_LABK, w_LAB)
    parts_AB = parts_of_grid(w_LAB.shape[1], w_LAB.shape[2], (a, b))
    picks = [(images.to(w_LAB.device), questions.to(w_LAB.device)) for images, questions in parts_AB]
    chunk = device.at_once(p_LABK, len(p_LABK) * len(picks[0][0]) * len(picks[0][1]) * p_LABK.shape[3])
    parts = [_decompose_some(p_LABK, w_LAB, whole, picks[i : i + chunk], axes) for i in range(0, len(picks), chunk)]
    values, errors = ({name: pairs_of([part[i][name] for part in parts]) for name in parts[0][i]} for i in range(2))
    return Halves(whole=_bits(whole), values=values, errors=errors)


def _decompose_some(
    p_LABK: Tensor,
    w_LAB: Tensor,
    whole: dict[str, Tensor],
    picks: list[tuple[Tensor, Tensor]],
    sampled: tuple[bool, bool],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Values and standard errors of some parts of the grid, bits [R, L] each; those of the whole where all weigh 0."""
    p, w, mass = drawn(p_LABK, w_LAB, picks)
    joint = p * w[..., None]
    union = solve_union(joint.sum(2), joint.sum(1), HALF_TOLERANCE)
    scores = local_scores(p, joint, union)
    informations = {name: (w * s).sum((1, 2)) for name, s in scores.items()} | {"union": union.value_L}
    informations = {name: torch.where(mass > 0, x, whole[name].repeat(len(picks))) for name, x in informations.items()}
    errors = standard_errors(scores, joint, w, sampled)
    values, errors = (
        {name: x.view(len(picks), -1) for name, x in some.items()} for some in (_bits(informations), errors)
    )
    return values, errors


def _bits(informations: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: NATS_TO_BITS * x for name, x in with_atoms(informations).items()}


def resample(
    joint_LABK: Tensor, sampled: tuple[bool, bool], generator: torch.Generator, fraction: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws the sampled axes with replacement, the same draw for every problem.

    Args:
        joint_LABK: Weighted joint masses.
        sampled: Which of the axes are drawn.
        generator: Of the draws; on the CPU, so that devices agree.
        fraction: Draws per axis as a fraction of its size; under 1 for subsampling.

    Returns:
        The masses of what was drawn, renormalised, without rows and columns that were not; and which ones remain.
    """
    kept = [torch.arange(size, device=joint_LABK.device) for size in joint_LABK.shape[1:3]]
    for axis, is_sampled in enumerate(sampled):
        if is_sampled:
            n = joint_LABK.shape[1 + axis]
            picks = torch.randint(n, (max(2, round(fraction * n)),), generator=generator)
            counts_N = torch.bincount(picks, minlength=n).to(joint_LABK)
            kept[axis] = counts_N.nonzero()[:, 0]
            counts = counts_N[kept[axis]].view([-1 if dim == 1 + axis else 1 for dim in range(4)])
            joint_LABK = joint_LABK.index_select(1 + axis, kept[axis]) * counts
    joint_LABK = joint_LABK / joint_LABK.sum((1, 2, 3), keepdim=True).clamp(min=1e-300)
    return joint_LABK, kept[0], kept[1]
