"""Every point's own potentials, given the other source's: many problems of K variables, kept feasible.

For one point with posterior t: maximise ``sum_y t_y f_y + mu sum_j w_j log(1 - sum_y exp(f_y + g_y(j)))``.

Shapes: A points whose potentials are sought, B points of the other source, K answers.
"""

import torch
from torch import Tensor

from fusionscope.pid import device

LOWEST = -745.0  # log of the smallest double: minus infinity where there is no mass
_STEPS = 10
_CHUNK = 2**22  # numbers of the points-by-points tensors held at once
_TINY = 1e-300


def ascend(p_AK: Tensor, other_B: Tensor, f_AK: Tensor, g_BK: Tensor, mu: float) -> Tensor:
    """Damped Newton steps from feasible potentials; the result is strictly feasible.

    Args:
        p_AK: Joint masses of the points and the answer.
        other_B: Masses of the other source's points.
        f_AK: Where to start: feasible with ``g_BK``.
        g_BK: Potentials of the other source.
        mu: Weight of the barrier, nats.
    """
    posterior_AK = p_AK / p_AK.sum(-1, keepdim=True).clamp(min=_TINY)
    f_AK = (f_AK - 0.5 * mu).masked_fill(p_AK <= 0, LOWEST)
    rows = max(1, _CHUNK // len(other_B))
    pieces = [
        _ascend_some(t_CK, other_B, f_CK, g_BK.exp(), mu)
        for t_CK, f_CK in zip(torch.split(posterior_AK, rows), torch.split(f_AK, rows), strict=True)
    ]
    return torch.cat(pieces)


def feasible(f_AK: Tensor, g_BK: Tensor) -> tuple[Tensor, Tensor]:
    """Potentials shifted point by point by the log of the worst row sum."""
    rows = max(1, _CHUNK // len(g_BK))
    e_BK = g_BK.exp()
    worst_A = torch.cat([(f.exp() @ e_BK.mT).amax(1) for f in torch.split(f_AK, rows)]).clamp(min=_TINY)
    f_AK = f_AK - worst_A.log()[:, None]
    tops = [(f.exp() @ e_BK.mT).amax(0) for f in torch.split(f_AK, rows)]
    worst_B = torch.stack(tops).amax(0).clamp(min=_TINY)
    return f_AK, g_BK - worst_B.log()[:, None]


def _ascend_some(t_AK: Tensor, other_B: Tensor, f_AK: Tensor, e_BK: Tensor, mu: float) -> Tensor:
    k = t_AK.shape[1]
    products_BC = (e_BK[:, :, None] * e_BK[:, None]).flatten(1)
    slack_AB = 1 - f_AK.exp() @ e_BK.mT
    for _ in range(_STEPS):
        e_AK = f_AK.exp()
        pull_AB = other_B / slack_AB
        mass_AK = mu * e_AK * (pull_AB @ e_BK)
        outer_AKK = ((pull_AB / slack_AB) @ products_BC).view(-1, k, k)
        hessian_AKK = mu * e_AK[:, :, None] * e_AK[:, None] * outer_AKK
        hessian_AKK.diagonal(dim1=1, dim2=2).add_(torch.where(mass_AK > 0, mass_AK, torch.ones_like(mass_AK)))
        step_AK = torch.linalg.solve_ex(hessian_AKK, t_AK - mass_AK)[0]
        step_AK = step_AK / (1 + step_AK.abs().amax(1, keepdim=True))
        f_AK, slack_AB = _inside(f_AK, step_AK, e_BK, slack_AB)
    return f_AK


def _inside(f_AK: Tensor, step_AK: Tensor, e_BK: Tensor, slack_AB: Tensor) -> tuple[Tensor, Tensor]:
    """Takes of each point's step what keeps a tenth of its least slack, shortening up to three times.

    A device of its own is not asked whether all are done: what is inside stays where it is.
    """
    least_A1 = 0.1 * slack_AB.amin(1, keepdim=True)
    for attempt in range(4):
        new_AB = 1 - (f_AK + step_AK).exp() @ e_BK.mT
        bad_A1 = ~(new_AB.amin(1, keepdim=True) >= least_A1)
        if not device.is_remote(new_AB) and not bool(bad_A1.any()):
            break
        step_AK = torch.where(bad_A1, (0.3 if attempt < 3 else 0.0) * step_AK, step_AK)
    return f_AK + step_AK, torch.where(bad_A1, slack_AB, new_AB)
