"""Plug-in bias of informations that are estimated from finitely many images and questions.

p(y|a) is a mean over the B sampled questions, p(y|b) one over the A images, p(y) one over both; entropies of noisy
means are biased down. To first order, in nats, for I(X1; Y):

    E_a sum_y Var_b p(y|a,b) / (2 B p(y|a)) - sum_y (Var_a p(y|a) / A + Var_b p(y|b) / B) / (2 p(y)),

likewise for I(X2; Y), and the second term alone for I(X1, X2; Y). The union information has no such formula: its bias
is extrapolated from halves of the sample (a plug-in on half the images is biased twice as much), with the formula for
the sources' informations as a control variate, so that a source that dominates keeps U = 0 for the other.

An axis that is enumerated completely has no sampling, hence no bias; one that is balanced by design has none of the
kind that random samples have, since what the answers depend on is as frequent in the sample as in the population.

Shapes: L problems, A images, B questions, K answers.

Reference:
    Miller (1955), Note on the bias of information estimates; Quenouille (1956), Notes on bias in estimation.
"""

import torch
from torch import Tensor

from fusionscope.pid.information import NATS_TO_BITS, information_about_answer
from fusionscope.pid.uncertainty.regularity import Halves, half_sample_bias
from fusionscope.pid.union import solve_union

_TOLERANCE = 2e-4  # nats; far below the sampling error of the extrapolation itself


def grid_bias(
    p_LABK: Tensor, w_LAB: Tensor, informations: dict[str, Tensor], axes: tuple[bool, bool], split: Halves
) -> dict[str, Tensor]:
    """First-order bias of the four informations, nats [L] each; what to subtract from the plug-in.

    Args:
        p_LABK: p(y | a, b).
        w_LAB: Weights of the pairs, summing to 1.
        informations: The four plug-in informations, nats.
        axes: Whether the images, and the questions, are a random sample.
        split: Halves of these axes.
    """
    bias = _analytic(p_LABK, w_LAB, axes)
    halves = {name: bits / NATS_TO_BITS for name, bits in half_sample_bias([split]).items()}
    unique1 = informations["union"] - informations["information_language"]
    unique2 = informations["union"] - informations["information_vision"]
    weight = _vision_weight(unique1, unique2)
    bias["union"] = (
        halves["union"]
        + weight * (bias["information_vision"] - halves["information_vision"])
        + (1 - weight) * (bias["information_language"] - halves["information_language"])
    )
    return bias


def _vision_weight(unique1: Tensor, unique2: Tensor) -> Tensor:
    """1 where source 1 dominates, 0 where source 2 does, half where neither has any unique information."""
    unique1, unique2 = unique1.clamp(min=0), unique2.clamp(min=0)
    both = unique1 + unique2
    return torch.where(both > 1e-6, unique1 / both.clamp(min=1e-300), torch.full_like(both, 0.5))


def _analytic(p_LABK: Tensor, w_LAB: Tensor, sampled: tuple[bool, bool]) -> dict[str, Tensor]:
    w_LA, w_LB = w_LAB.sum(2), w_LAB.sum(1)
    joint = p_LABK * w_LAB[..., None]
    py_LK = joint.sum((1, 2))
    pa_LAK, spread_a = _conditional(p_LABK, w_LAB, w_LA, axis=2)
    pb_LBK, spread_b = _conditional(p_LABK, w_LAB, w_LB, axis=1)
    answers = torch.zeros_like(py_LK)
    vision, language = torch.zeros_like(py_LK[:, 0]), torch.zeros_like(py_LK[:, 0])
    if sampled[0]:
        answers = answers + _variance_of_mean(pa_LAK, w_LA)
        language = (spread_b * w_LB[..., None] / (2 * _or_one(pb_LBK))).sum((1, 2))
    if sampled[1]:
        answers = answers + _variance_of_mean(pb_LBK, w_LB)
        vision = (spread_a * w_LA[..., None] / (2 * _or_one(pa_LAK))).sum((1, 2))
    common = -(answers / (2 * _or_one(py_LK))).sum(1)
    return {"information_vision": vision + common, "information_language": language + common, "total": common}


def _conditional(p_LABK: Tensor, w_LAB: Tensor, w_rest: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The conditional mean of p(y|a,b) along an axis, and the variance of that mean over samples of the axis."""
    fraction_LAB = w_LAB / _or_one(w_rest.unsqueeze(axis))
    mean = (p_LABK * fraction_LAB[..., None]).sum(axis)
    squares = fraction_LAB[..., None] ** 2 * (p_LABK - mean.unsqueeze(axis)) ** 2
    return mean, squares.sum(axis) * _small_sample((fraction_LAB**2).sum(axis))[..., None]


def _variance_of_mean(p_LNK: Tensor, w_LN: Tensor) -> Tensor:
    mean = (p_LNK * w_LN[..., None]).sum(1, keepdim=True)
    squares = (w_LN[..., None] ** 2 * (p_LNK - mean) ** 2).sum(1)
    return squares * _small_sample((w_LN**2).sum(1))[:, None]


def _small_sample(concentration: Tensor) -> Tensor:
    """``n / (n - 1)`` of the effective sample size, the inverse of the sum of squared weights; 0 below two."""
    return torch.where(concentration < 0.75, 1 / (1 - concentration.clamp(max=0.75)), torch.zeros_like(concentration))


def _or_one(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.ones_like(x))


def plug_in_joint(joint_LABK: Tensor) -> dict[str, Tensor]:
    """The four informations of joint masses, nats [L], at a loose tolerance: for resampling."""
    p1_LAK, p2_LBK = joint_LABK.sum(2), joint_LABK.sum(1)
    return {
        "information_vision": information_about_answer(p1_LAK),
        "information_language": information_about_answer(p2_LBK),
        "total": information_about_answer(joint_LABK.flatten(1, 2)),
        "union": solve_union(p1_LAK, p2_LBK, _TOLERANCE).value_L,
    }
