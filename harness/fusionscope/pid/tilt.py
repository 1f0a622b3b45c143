"""Unimodal posteriors whose answer marginals disagree, made consistent by an exponential tilt.

``p'(y|x) ~ p(y|x) exp(d_y)`` with d chosen so that the mean over samples is the joint posteriors' marginal: the
closest posteriors in the Kullback-Leibler sense that are consistent. One-hot rows cannot be tilted, and near-one-hot
rows only by destroying the others: then no tilt exists, or it changes the rows more than can be called the same.

Shapes: L problems, N samples, K answers.

Reference:
    Csiszar (1975), I-divergence geometry of probability distributions and minimization problems.
"""

import torch
from torch import Tensor

_ITERATIONS = 60
_TOLERANCE = 1e-11
_FARTHEST = 60.0  # a tilt by more than exp(60) is no tilt


def tilt(p_LNK: Tensor, w_LN: Tensor, target_LK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Tilts posteriors to a marginal; differentiable in all three arguments.

    Args:
        p_LNK: Posteriors.
        w_LN: Weights of the samples, summing to 1.
        target_LK: The marginal to reach.

    Returns:
        Tilted posteriors ``[L, N, K]``, the mean total variation between them and the given ones ``[L]``, and whether
        there is a tilt, bool ``[L]``.
    """
    with torch.no_grad():
        d_LK = _solve(p_LNK.detach(), w_LN.detach(), target_LK.detach())
    tilted = _apply(p_LNK, d_LK)
    if p_LNK.requires_grad or target_LK.requires_grad:
        # One Newton step from the solution changes nothing in value and carries the gradient of the implicit function.
        tilted = _apply(p_LNK, d_LK + _newton(tilted, w_LN, target_LK))
    reached_L = (_mean(tilted, w_LN) - target_LK).abs().amax(-1) < 1e3 * _TOLERANCE
    change_L = 0.5 * (w_LN[..., None] * (tilted - p_LNK).abs()).sum((1, 2))
    return tilted, change_L.detach(), reached_L.detach()


def consistent_masses(p1_LNK: Tensor, p2_LNK: Tensor) -> tuple[Tensor, Tensor]:
    """Joint masses of both sources, scaled by a rounding error per answer so that their marginals are equal."""
    first_LK, second_LK = p1_LNK.sum(1).detach(), p2_LNK.sum(1).detach()
    common_LK = 0.5 * (first_LK + second_LK)
    scale1, scale2 = (torch.where(p > 0, common_LK / torch.where(p > 0, p, 1.0), 1.0) for p in (first_LK, second_LK))
    return p1_LNK * scale1[:, None], p2_LNK * scale2[:, None]


def _mean(p_LNK: Tensor, w_LN: Tensor) -> Tensor:
    return (p_LNK * w_LN[..., None]).sum(1)


def _apply(p_LNK: Tensor, d_LK: Tensor) -> Tensor:
    raised = p_LNK * (d_LK - d_LK.detach().amax(-1, keepdim=True)).exp()[:, None]
    total = raised.sum(-1, keepdim=True)
    return torch.where(total > 0, raised / torch.where(total > 0, total, 1.0), p_LNK)


def _newton(tilted: Tensor, w_LN: Tensor, target_LK: Tensor) -> Tensor:
    """The step of ``d`` towards the target; the constant direction, which changes nothing, is left alone."""
    weighted = tilted * w_LN[..., None]
    covariance = torch.diag_embed(weighted.sum(1)) - weighted.mT @ tilted
    k = tilted.shape[-1]
    ridge = 1e-13 * torch.eye(k, dtype=tilted.dtype, device=tilted.device)
    gap_LK = target_LK - weighted.sum(1)
    return torch.linalg.solve(covariance + 1.0 / k + ridge, gap_LK - gap_LK.mean(-1, keepdim=True))


def _solve(p_LNK: Tensor, w_LN: Tensor, target_LK: Tensor) -> Tensor:
    """Newton's method on the convex dual ``sum_n w_n log sum_y p exp(d_y) - target d``, with halved steps."""
    d_LK = torch.zeros_like(target_LK)
    value_L = _objective(p_LNK, w_LN, target_LK, d_LK)
    for _ in range(_ITERATIONS):
        tilted = _apply(p_LNK, d_LK)
        if bool(((_mean(tilted, w_LN) - target_LK).abs().amax(-1) < _TOLERANCE).all()):
            break
        step = _newton(tilted, w_LN, target_LK)
        step = step * (4.0 / step.abs().amax(-1, keepdim=True).clamp(min=4.0))
        for _ in range(8):
            ahead_L = _objective(p_LNK, w_LN, target_LK, d_LK + step)
            worse = ~(ahead_L <= value_L + 1e-13)
            if not bool(worse.any()):
                break
            step = torch.where(worse[:, None], 0.3 * step, step)
        d_LK = (d_LK + step).clamp(-_FARTHEST, _FARTHEST)
        value_L = _objective(p_LNK, w_LN, target_LK, d_LK)
    return d_LK


def _objective(p_LNK: Tensor, w_LN: Tensor, target_LK: Tensor, d_LK: Tensor) -> Tensor:
    top = d_LK.amax(-1, keepdim=True)
    partition_LN = (p_LNK * (d_LK - top).exp()[:, None]).sum(-1).clamp(min=1e-300)
    return (w_LN * (partition_LN.log() + top)).sum(-1) - (target_LK * d_LK).sum(-1)
