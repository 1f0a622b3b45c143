"""Every point's own potentials, given the other source's: many problems of K variables, kept feasible.

For one point with posterior t: maximise ``sum_y t_y f_y + mu sum_j w_j log(1 - sum_y exp(f_y + g_y(j)))``.

Shapes: L problems, A points whose potentials are sought, B points of the other source, K answers.
"""

import torch
from torch import Tensor

from fusionscope.pid import device

LOWEST = -745.0  # log of the smallest double: minus infinity where there is no mass
_STEPS = 10
_CHUNK = 2**22  # numbers of the points-by-points tensors held at once
_TINY = 1e-300


def ascend(p_LAK: Tensor, other_LB: Tensor, f_LAK: Tensor, g_LBK: Tensor, mu: float) -> Tensor:
    """Damped Newton steps from feasible potentials; the result is strictly feasible.

    Args:
        p_LAK: Joint masses of the points and the answer.
        other_LB: Masses of the other source's points.
        f_LAK: Where to start: feasible with ``g_LBK``.
        g_LBK: Potentials of the other source.
        mu: Weight of the barrier, nats.
    """
    posterior_LAK = p_LAK / p_LAK.sum(-1, keepdim=True).clamp(min=_TINY)
    f_LAK = (f_LAK - 0.5 * mu).masked_fill(p_LAK <= 0, LOWEST)
    rows = max(1, _CHUNK // other_LB.numel())
    pieces = [
        _ascend_some(t, other_LB, f, g_LBK.exp(), mu)
        for t, f in zip(torch.split(posterior_LAK, rows, 1), torch.split(f_LAK, rows, 1), strict=True)
    ]
    return torch.cat(pieces, 1)


def feasible(f_LAK: Tensor, g_LBK: Tensor) -> tuple[Tensor, Tensor]:
    """Potentials shifted point by point by the log of the worst row sum."""
    rows = max(1, _CHUNK // (len(g_LBK) * g_LBK.shape[1]))
    e_LBK = g_LBK.exp()
    worst_LA = torch.cat([(f.exp() @ e_LBK.mT).amax(2) for f in torch.split(f_LAK, rows, 1)], 1).clamp(min=_TINY)
    f_LAK = f_LAK - worst_LA.log()[..., None]
    tops = [(f.exp() @ e_LBK.mT).amax(1) for f in torch.split(f_LAK, rows, 1)]
    worst_LB = torch.stack(tops).amax(0).clamp(min=_TINY)
    return f_LAK, g_LBK - worst_LB.log()[..., None]


def _ascend_some(t_LAK: Tensor, other_LB: Tensor, f_LAK: Tensor, e_LBK: Tensor, mu: float) -> Tensor:
    k = t_LAK.shape[2]
    products_LBC = (e_LBK[..., None] * e_LBK[:, :, None]).flatten(2)
    slack_LAB = 1 - f_LAK.exp() @ e_LBK.mT
    for _ in range(_STEPS):
        e_LAK = f_LAK.exp()
        pull_LAB = other_LB[:, None] / slack_LAB
        mass_LAK = mu * e_LAK * (pull_LAB @ e_LBK)
        outer = torch.unflatten((pull_LAB / slack_LAB) @ products_LBC, 2, (k, k))
        hessian = mu * e_LAK[..., None] * e_LAK[:, :, None] * outer
        hessian.diagonal(dim1=2, dim2=3).add_(torch.where(mass_LAK > 0, mass_LAK, torch.ones_like(mass_LAK)))
        step_LAK = torch.linalg.solve_ex(hessian, (t_LAK - mass_LAK)[..., None])[0][..., 0]
        step_LAK = step_LAK / (1 + step_LAK.abs().amax(2, keepdim=True))
        f_LAK, slack_LAB = _inside(f_LAK, step_LAK, e_LBK, slack_LAB)
    return f_LAK


def _inside(f_LAK: Tensor, step_LAK: Tensor, e_LBK: Tensor, slack_LAB: Tensor) -> tuple[Tensor, Tensor]:
    """Takes of each point's step what keeps a tenth of its least slack, shortening up to three times.

    An accelerator is not synchronised with to see whether all are done: what is inside stays where it is.
    """
    least_LA1 = 0.1 * slack_LAB.amin(2, keepdim=True)
    for attempt in range(4):
        new_LAB = 1 - (f_LAK + step_LAK).exp() @ e_LBK.mT
        bad_LA1 = ~(new_LAB.amin(2, keepdim=True) >= least_LA1)
        if not device.is_remote(new_LAB) and not bool(bad_LA1.any()):
            break
        step_LAK = torch.where(bad_LA1, (0.3 if attempt < 3 else 0.0) * step_LAK, step_LAK)
    return f_LAK + step_LAK, torch.where(bad_LA1, slack_LAB, new_LAB)
