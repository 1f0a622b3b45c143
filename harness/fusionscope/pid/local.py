"""What each sample contributes to each atom.

Every information is a mean over pairs: I(X1; Y) of ``sum_y p(y|a,b) log(p(y|a) / p(y))``, and so on. The union
information is the mean of ``sum_y p(y|a,b) (f_y(a) + g_y(b) - log p(y))`` with the dual potentials: where the optimal
coupling Q has mass, ``exp(f + g)`` is Q(y|a,b), so this is the pointwise information that Q would give. The atoms of a
pair follow from these four like the atoms of the whole.

Shapes: L problems, A images, B questions, K answers.
"""

import torch
from torch import Tensor

from fusionscope.pid.information import NATS_TO_BITS, log_ratio
from fusionscope.pid.joint import TOLERANCE_BITS
from fusionscope.pid.union import Union, solve_union
from fusionscope.pid.validate import check_simplex, check_tolerance, check_weights

INFORMATIONS = ("information_vision", "information_language", "total", "union")


def local_contributions(
    conditionals: Tensor, weights: Tensor | None = None, *, tolerance: float = TOLERANCE_BITS
) -> dict[str, Tensor]:
    """Contributions of every pair of a crossed design to every atom, in bits.

    A single contribution may be negative (misinformation), and splits between atoms of one pair depend on the dual
    solution where that is not unique (equal channels); only weighted means are meaningful there.

    Args:
        conditionals: p(y | a, b), [..., A, B, K].
        weights: As in :func:`fusionscope.pid.pid_crossed`.
        tolerance: Certified gap of the union information, bits.

    Returns:
        By name of atom and of information, float64 [..., A, B], whose weighted mean is the plug-in atom up to the gap.

    Example:
        >>> p = torch.eye(2).reshape(2, 1, 2).expand(2, 3, 2)
        >>> local_contributions(p)["unique_vision"].round(decimals=6).unique().tolist()
        [1.0]
    """
    p = check_simplex("conditionals", conditionals, n_event_dims=1, min_ndim=3)
    w = check_weights("weights", weights, tuple(p.shape[-3:-1]), like=p)
    p_LABK = p.reshape(-1, *p.shape[-3:])
    joint_LABK = p_LABK * w.reshape(-1, *w.shape[-2:])[..., None]
    union = solve_union(joint_LABK.sum(2), joint_LABK.sum(1), check_tolerance(tolerance) / NATS_TO_BITS)
    scores = local_scores(p_LABK, joint_LABK, union)
    return {name: (NATS_TO_BITS * x).reshape(p.shape[:-1]) for name, x in with_atoms(scores).items()}


def local_scores(p_LABK: Tensor, joint_LABK: Tensor, union: Union) -> dict[str, Tensor]:
    """The four pointwise informations of every pair, nats [L, A, B]: also the derivative in the pair's weight, but
    for a constant."""
    p1_LAK, p2_LBK, py_LK = joint_LABK.sum(2), joint_LABK.sum(1), joint_LABK.sum((1, 2))
    log_py_L1K = torch.where(py_LK > 0, py_LK, torch.ones_like(py_LK)).log()[:, None]
    vision_LAK = log_ratio(p1_LAK, p1_LAK.sum(-1, keepdim=True)) - log_py_L1K
    language_LBK = log_ratio(p2_LBK, p2_LBK.sum(-1, keepdim=True)) - log_py_L1K
    certain_LAB = torch.xlogy(p_LABK, p_LABK).sum(-1)
    known_LAB = _mean(p_LABK, log_py_L1K, None)
    return {
        "information_vision": _mean(p_LABK, vision_LAK, None),
        "information_language": _mean(p_LABK, None, language_LBK),
        "total": certain_LAB - known_LAB,
        "union": _mean(p_LABK, union.f_LAK - log_py_L1K, union.g_LBK),
    }


def with_atoms(informations: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adds the atoms, which are the same linear combinations for means, for pairs and for derivatives."""
    vision, language, total, union = (informations[name] for name in INFORMATIONS)
    return {
        "redundancy": vision + language - union,
        "unique_vision": union - language,
        "unique_language": union - vision,
        "synergy": total - union,
        **informations,
    }


def _mean(p_LABK: Tensor, of_a_LAK: Tensor | None, of_b_LBK: Tensor | None) -> Tensor:
    """``sum_y p(y|a,b) (u_y(a) + v_y(b))``."""
    total = torch.zeros_like(p_LABK[..., 0])
    if of_a_LAK is not None:
        total = total + (p_LABK @ of_a_LAK.expand(-1, p_LABK.shape[1], -1)[..., None])[..., 0]
    if of_b_LBK is not None:
        total = total + (p_LABK * of_b_LBK[:, None]).sum(-1)
    return total
