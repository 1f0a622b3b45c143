"""Gradient-boosted oblivious trees for soft targets, many problems at once on the same features.

A tree asks the same question of all its nodes on one level, so that a level's histograms of all problems are one matrix
product. What this library needs of boosting is a lower bound of an information, at all layers, on the model's device:
less than what a package of its own would bring.

Shapes: B problems (layers x folds), U objects, C = features x cuts, K answers, Q leaves.

Reference:
    Friedman (2001), Greedy function approximation: a gradient boosting machine; Prokhorenkova et al. (2018), CatBoost
    (oblivious trees).
"""

import torch
from torch import Tensor

TREES, DEPTH, RATE = 60, 3, 0.15
_CUTS = 15
_FEATURES = 24
_SMOOTHING = 1.0  # objects of mean weight, added to every leaf


def boosted(x_UM: Tensor, weights_BU: Tensor, target_BUK: Tensor) -> Tensor:
    """Predictions [B, U, K] of trees fitted to weighted soft targets.

    Args:
        x_UM: Features in falling order of importance, of which the first are used, float64.
        weights_BU: Weights of the objects in each problem, 0 for those held out, float64.
        target_BUK: Distributions to predict, float64; anything where the weight is 0.
    """
    above_UC = _questions(x_UM)
    fraction_BU = weights_BU / weights_BU.mean(-1, keepdim=True)
    mean_B1K = (fraction_BU[..., None] * target_BUK).sum(1, keepdim=True) / fraction_BU.sum(1)[:, None, None]
    score_BUK = mean_B1K.clamp(min=1e-6).log().expand_as(target_BUK).clone()
    for _ in range(TREES):
        p_BUK = score_BUK.softmax(-1)
        gradient = fraction_BU[..., None] * (target_BUK - p_BUK)
        curvature = fraction_BU[..., None] * p_BUK * (1 - p_BUK)
        score_BUK = score_BUK + RATE * _tree(above_UC, gradient, curvature)
    return score_BUK.softmax(-1)


def _questions(x_UM: Tensor) -> Tensor:
    """Whether each object lies above each of the features' quantiles, 0 or 1."""
    x_UM = x_UM[:, :_FEATURES]
    levels = torch.arange(1, _CUTS + 1, dtype=x_UM.dtype, device=x_UM.device) / (_CUTS + 1)
    cuts_CM = torch.quantile(x_UM, levels, dim=0)
    return (x_UM[:, :, None] > cuts_CM.mT).flatten(1).to(x_UM)


def _tree(above_UC: Tensor, gradient_BUK: Tensor, curvature_BUK: Tensor) -> Tensor:
    """One tree's Newton steps [B, U, K]."""
    problems, objects, answers = gradient_BUK.shape
    leaf_BU = torch.zeros(problems, objects, dtype=torch.int64, device=above_UC.device)
    for level in range(DEPTH):
        member_BQU = torch.nn.functional.one_hot(leaf_BU, 2**level).mT.to(above_UC)
        sums = []
        for values in (gradient_BUK, curvature_BUK):
            parts = torch.einsum("bqu,buk->bqku", member_BQU, values)
            above = parts @ above_UC
            sums.append((above, parts.sum(-1, keepdim=True) - above))
        sides = zip(*sums, strict=True)
        gain_BC = torch.stack([(slope**2 / (curvature + _SMOOTHING)).sum((1, 2)) for slope, curvature in sides]).sum(0)
        best_B = gain_BC.argmax(-1)
        leaf_BU = 2 * leaf_BU + above_UC.T[best_B].long()
    member_BQU = torch.nn.functional.one_hot(leaf_BU, 2**DEPTH).mT.to(above_UC)
    step_BQK = (member_BQU @ gradient_BUK) / (member_BQU @ curvature_BUK + _SMOOTHING)
    return step_BQK.gather(1, leaf_BU[..., None].expand(-1, -1, answers))
