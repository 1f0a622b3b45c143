"""The distribution of greatest entropy among those with given pairwise marginals of two sources and an answer.

Given p(a, b) it is a logistic model without interaction, ``q(y|a,b) ~ exp(f_y(a) + g_y(b))``, whose marginals with the
answer are right where its likelihood is greatest. Newton's method on f and g, with the K x K blocks of f eliminated.
Where marginals leave a cell no mass, potentials run off to infinity, by about 1 a step, and the mass falls with them:
that takes some thirty steps, where iterative proportional fitting takes thousands.

Shapes: L problems, A images, B questions, K answers.

Reference:
    Jaynes (1957), Information theory and statistical mechanics; Darroch, Ratcliff (1972), Generalized iterative scaling
    for log-linear models (the same distribution, by iterative scaling).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.pid import device

_STEPS = 60
_TOLERANCE = 1e-8  # largest error of a marginal: informations are then right to six digits
_CLOSE = 1e-7  # where steps end without reaching it, as good as five digits of an information need
_LOWEST = -1e4  # log of a mass that is zero, finite so that gradients are
_RIDGE = 1e-13  # of the mean diagonal: the gauge f_y(a) + c, and f_y + c_y, g_y - c_y


@dataclass(frozen=True, kw_only=True)
class NoInteraction:
    """The fitted distribution.

    Args:
        q_LABK: q(a, b, y).
        converged_L: Whether all of its marginals are right to 1e-7.
    """

    q_LABK: Tensor
    converged_L: Tensor


def fit_no_interaction(p_LABK: Tensor) -> NoInteraction:
    """Fits the three pairwise marginals of a joint distribution.

    Args:
        p_LABK: p(a, b, y), float64.
    """
    chunk = device.at_once(p_LABK, p_LABK[0].numel() * p_LABK.shape[3])
    parts = [_fit_some(some) for some in torch.split(p_LABK, chunk)]
    return NoInteraction(
        q_LABK=torch.cat([part.q_LABK for part in parts]), converged_L=torch.cat([part.converged_L for part in parts])
    )


def _fit_some(p_LABK: Tensor) -> NoInteraction:
    if p_LABK.shape[1] < p_LABK.shape[2]:
        swapped = _fit_some(p_LABK.transpose(1, 2))
        return NoInteraction(q_LABK=swapped.q_LABK.transpose(1, 2), converged_L=swapped.converged_L)
    w_LAB, p1_LAK, p2_LBK = p_LABK.sum(3), p_LABK.sum(2), p_LABK.sum(1)
    f_LAK, g_LBK = (torch.where(p > 0, 0.0, _LOWEST).to(p) for p in (p1_LAK, p2_LBK))
    loss_L = _loss(w_LAB, p1_LAK, p2_LBK, f_LAK, g_LBK)
    for _ in range(_STEPS):
        q_LABK = _posterior(f_LAK, g_LBK) * w_LAB[..., None]
        excess1, excess2 = q_LABK.sum(2) - p1_LAK, q_LABK.sum(1) - p2_LBK
        if float(torch.maximum(excess1.abs().amax((1, 2)), excess2.abs().amax((1, 2))).max()) < _TOLERANCE:
            break
        step1, step2 = _newton(w_LAB, q_LABK, excess1, excess2)
        f_LAK, g_LBK, loss_L = _descend((w_LAB, p1_LAK, p2_LBK), (f_LAK, g_LBK), (step1, step2), loss_L)
    q_LABK = _posterior(f_LAK, g_LBK) * w_LAB[..., None]
    error1, error2 = ((q - p).abs().amax((1, 2)) for q, p in ((q_LABK.sum(2), p1_LAK), (q_LABK.sum(1), p2_LBK)))
    return NoInteraction(q_LABK=q_LABK, converged_L=torch.maximum(error1, error2) < _CLOSE)


def _posterior(f_LAK: Tensor, g_LBK: Tensor) -> Tensor:
    return (f_LAK[:, :, None] + g_LBK[:, None]).softmax(-1)


def _loss(w_LAB: Tensor, p1_LAK: Tensor, p2_LBK: Tensor, f_LAK: Tensor, g_LBK: Tensor) -> Tensor:
    """Cross entropy of the model, nats [L]."""
    partition_LAB = (f_LAK[:, :, None] + g_LBK[:, None]).logsumexp(-1)
    linear_L = torch.where(p1_LAK > 0, p1_LAK * f_LAK, 0.0).sum((1, 2))
    linear_L = linear_L + torch.where(p2_LBK > 0, p2_LBK * g_LBK, 0.0).sum((1, 2))
    return (w_LAB * partition_LAB).sum((1, 2)) - linear_L


def _newton(w_LAB: Tensor, q_LABK: Tensor, excess1_LAK: Tensor, excess2_LBK: Tensor) -> tuple[Tensor, Tensor]:
    """The step of both potentials, from the system ``[[F, C], [C', G]]`` reduced to the questions."""
    n, a, b, k = q_LABK.shape
    posterior = q_LABK / torch.where(w_LAB > 0, w_LAB, 1.0)[..., None]
    cross = -q_LABK[..., None] * posterior[..., None, :]
    cross.diagonal(dim1=3, dim2=4).add_(q_LABK)
    first_LAKK, second_LBKK = cross.sum(2), cross.sum(1)
    scale = (first_LAKK.diagonal(dim1=2, dim2=3).mean((1, 2)) + 1e-300)[:, None, None]
    first_LAKK.diagonal(dim1=2, dim2=3).add_(_RIDGE * scale)
    coupling = cross.permute(0, 1, 3, 2, 4).reshape(n, a, k, b * k)
    solved = torch.linalg.solve_ex(first_LAKK, torch.cat([coupling, excess1_LAK[..., None]], -1))[0]
    schur = -(coupling.flatten(1, 2).mT @ solved[..., :-1].flatten(1, 2))
    schur.view(n, b, k, b, k).diagonal(dim1=1, dim2=3).add_(second_LBKK.permute(0, 2, 3, 1))
    schur.diagonal(dim1=1, dim2=2).add_(_RIDGE * a / b * scale[..., 0])
    right = excess2_LBK.flatten(1)[..., None] - coupling.flatten(1, 2).mT @ solved[..., -1:].flatten(1, 2)
    step2 = torch.linalg.solve_ex(schur, right)[0]
    step1 = solved[..., -1:] - solved[..., :-1] @ step2[:, None]
    return -step1[..., 0], -step2.view(n, b, k)


def _descend(
    masses: tuple[Tensor, Tensor, Tensor], at: tuple[Tensor, Tensor], step: tuple[Tensor, Tensor], loss_L: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The longest of a step, its half, its quarter, ... that does not raise the loss; none where all do."""
    step = tuple(torch.where(x.isfinite(), x, 0.0) for x in step)  # type: ignore[assignment]
    largest = torch.maximum(step[0].abs().amax((1, 2)), step[1].abs().amax((1, 2)))
    length_L = 5.0 / largest.clamp(min=5.0)
    for _ in range(12):
        ahead = [x + length_L[:, None, None] * dx for x, dx in zip(at, step, strict=True)]
        ahead_L = _loss(*masses, ahead[0], ahead[1])
        worse_L = ~(ahead_L <= loss_L + 1e-14 * loss_L.abs())
        if not bool(worse_L.any()):
            break
        length_L = torch.where(worse_L, 0.5 * length_L, length_L)
    kept = (~worse_L)[:, None, None]
    first, second = (torch.where(kept, new, old) for new, old in zip(ahead, at, strict=True))
    return first, second, torch.where(worse_L, loss_L, ahead_L)
