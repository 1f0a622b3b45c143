"""An interior-point method for hundreds of points a source, whose cost per step is that of N x N numbers.

The dual, with a multiplier w for every pair: maximise ``sum f P1 + sum g P2`` subject to ``s + slack = 1``, slack >=
0, where ``s_ij = sum_y exp(f_y(i) + g_y(j))``. At the optimum ``q_y = w exp(f_y + g_y)`` is the coupling; on the path
``w slack`` is mu times the independent coupling, and the gap is mu. Slacks are variables of their own, so that steps
are not cut short by the curvature of s. Since exp(f + g) factors, products with the Hessian cost matrix products of N
x N numbers and K or K^2 columns (:mod:`fusionscope.pid.points_system`).

Shapes: A and B points, K answers. Joint masses in, nats out.

Reference:
    Nocedal, Wright (2006), Numerical Optimization, chapter 19.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.pid import device
from fusionscope.pid.extend import LOWEST, feasible
from fusionscope.pid.interior_point import round_to_margins
from fusionscope.pid.points_system import MOST_ROUNDS, Cells, Iterate, PointsSystem, coarse_cells

_START = 1.0  # nats: the first mu
_SHRINK = 0.3
_TO_BOUNDARY = 0.95
_MOST_STEPS = 60
_STRIDE = 3  # steps between two questions to a device of its own
_FIRST_ROUNDS = 12  # of conjugate gradients there, until the first question
_BLUR = 0.005  # of the tolerance: costs about twice its own logarithm, a fifth of the tolerance
_TINY = 1e-300


def solve_points(p1_AK: Tensor, p2_BK: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Certified bounds of minus the conditional entropy, the dual of the lower one, and the steps taken.

    A device of its own is asked how far things are only every few steps, and told then how many rounds of conjugate
    gradients to make: no value leaves it within a step.
    """
    inner1_AK, inner2_BK = _blurred(p1_AK, tolerance), _blurred(p2_BK, tolerance)
    path = _Path(p1_AK=inner1_AK, p2_BK=inner2_BK, cells=coarse_cells(inner2_BK), aim=0.3 * tolerance)
    at = _start(inner1_AK, inner2_BK)
    weight_AB, mu = at.w_AB, at.w_AB.new_tensor(_START)
    stride, rounds = (_STRIDE, _FIRST_ROUNDS) if device.is_remote(p1_AK) else (1, None)
    lower, upper = p1_AK.new_tensor(-torch.inf), p1_AK.new_tensor(torch.inf)
    best = at.f_AK, at.g_BK
    for step in range(stride, _MOST_STEPS + 1, stride):
        most = torch.zeros_like(mu)
        for _ in range(stride):
            at, mu, gap, taken = path.step(at, weight_AB, mu, rounds)
            most = torch.maximum(most, taken)
        now, used = (float(x) for x in torch.stack([gap, most]))
        rounds = None if rounds is None else min(MOST_ROUNDS, 2 * int(used) + 4)
        if not now < torch.inf:
            break
        if now > 0.8 * tolerance and step + stride <= _MOST_STEPS:
            continue
        found_lower, found_upper, f_AK, g_BK = _bounds(p1_AK, p2_BK, at)
        upper = torch.minimum(upper, found_upper)
        if found_lower > lower:
            lower, best = found_lower, (f_AK, g_BK)
        if upper - lower <= tolerance:
            break
    return lower, upper, *best, torch.tensor(step, device=p1_AK.device)


def _blurred(p_NK: Tensor, tolerance: float) -> Tensor:
    """Masses with a little of the marginal mixed into every point, which leaves the marginal as it is.

    A confident model's posteriors hold masses of 1e-10 and less beside ordinary ones; their potentials are so steep
    that steps get nowhere. The bounds are taken at the masses themselves, so they hold all the same.
    """
    share = _BLUR * tolerance
    return (1 - share) * p_NK + share * p_NK.sum(1, keepdim=True) * p_NK.sum(0)


def _start(p1_AK: Tensor, p2_BK: Tensor) -> Iterate:
    """The conditionally independent coupling, whose margins are right; its slacks are not yet."""
    half_K = 0.5 * p2_BK.sum(0).clamp(min=_TINY).log()
    weight1_A, weight2_B = p1_AK.sum(1), p2_BK.sum(1)
    f_AK = ((p1_AK / weight1_A[:, None].clamp(min=_TINY)).clamp(min=1e-15).log() - half_K).masked_fill(
        p1_AK <= 0, LOWEST
    )
    g_BK = ((p2_BK / weight2_B[:, None].clamp(min=_TINY)).clamp(min=1e-15).log() - half_K).masked_fill(
        p2_BK <= 0, LOWEST
    )
    w_AB = (weight1_A[:, None] * weight2_B).clamp(min=_TINY)
    return Iterate(f_AK=f_AK, g_BK=g_BK, w_AB=w_AB, slack_AB=torch.full_like(w_AB, _START))


@dataclass(frozen=True, kw_only=True)
class _Path:
    """The problem and the last mu."""

    p1_AK: Tensor
    p2_BK: Tensor
    cells: Cells
    aim: float

    def step(
        self, at: Iterate, weight_AB: Tensor, mu: Tensor, rounds: int | None
    ) -> tuple[Iterate, Tensor, Tensor, Tensor]:
        """One Newton step, multipliers with a length of their own; the next mu, the gap, and the rounds it took."""
        system = PointsSystem(self.p1_AK, self.p2_BK, at, mu * weight_AB, self.cells)
        df_AK, dg_BK, dslack_AB, taken = system.solve(rounds)
        dw_AB = (mu * weight_AB - at.w_AB * dslack_AB) / at.slack_AB - at.w_AB
        dual = _length(-dw_AB / at.w_AB, _TO_BOUNDARY)
        primal = _length(-dslack_AB / at.slack_AB, _TO_BOUNDARY)
        primal = torch.minimum(primal, torch.minimum(_length(df_AK.abs(), 2.0), _length(dg_BK.abs(), 2.0)))
        moved = Iterate(
            f_AK=at.f_AK + primal * df_AK,
            g_BK=at.g_BK + primal * dg_BK,
            w_AB=at.w_AB + dual * dw_AB,
            slack_AB=at.slack_AB + primal * dslack_AB,
        )
        gap = (moved.w_AB * moved.slack_AB).sum()
        shrink = torch.where(torch.minimum(primal, dual) > 0.2, _SHRINK, 0.8)
        return moved, (shrink * gap).clamp(min=self.aim), gap, taken


def _length(change: Tensor, most: float) -> Tensor:
    """The longest step, at most 1, that changes nothing by more than ``most``."""
    return most / change.max().clamp(min=most)


def _bounds(p1_AK: Tensor, p2_BK: Tensor, at: Iterate) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The bounds that the iterate gives once made exactly feasible, and the feasible dual."""
    q_1KBA = (at.w_AB.mT * at.f_AK.exp().mT[:, None] * at.g_BK.exp().mT[..., None])[None]
    q_1KBA = round_to_margins(p1_AK.mT[None], p2_BK.mT[None], q_1KBA)
    w_1BA = q_1KBA.sum(1)
    upper = torch.xlogy(q_1KBA, q_1KBA).sum() - torch.xlogy(w_1BA, w_1BA).sum()
    f_AK, g_BK = feasible(at.f_AK, at.g_BK)
    return (p1_AK * f_AK).sum() + (p2_BK * g_BK).sum(), upper, f_AK, g_BK
