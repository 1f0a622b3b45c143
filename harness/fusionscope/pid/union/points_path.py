"""An interior-point method for hundreds of points a source, whose cost per step is that of N x N numbers.

The dual, with a multiplier w for every pair: maximise ``sum f P1 + sum g P2`` subject to ``s + slack = 1``, slack >=
0, where ``s_ij = sum_y exp(f_y(i) + g_y(j))``. At the optimum ``q_y = w exp(f_y + g_y)`` is the coupling; on the path
``w slack`` is mu times the independent coupling, and the gap is mu. Slacks are variables of their own, so that steps
are not cut short by the curvature of s. Since exp(f + g) factors, products with the Hessian cost matrix products of N
x N numbers and K or K^2 columns (:mod:`fusionscope.pid.union.points_system`).

Shapes: L problems, l of them still open, A and B points, K answers. Joint masses in, nats out.

Reference:
    Nocedal, Wright (2006), Numerical Optimization, chapter 19.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.pid import device
from fusionscope.pid.union.extend import LOWEST, feasible
from fusionscope.pid.union.interior_point import round_to_margins
from fusionscope.pid.union.points_system import MOST_ROUNDS, Cells, Iterate, PointsSystem, coarse_cells

_START = 1.0  # nats: the first mu
_SHRINK = 0.3
_SLOW = 0.8  # after short steps
_TO_BOUNDARY = 0.95
_MOST_STEPS = 60
_STRIDE = 3  # steps between two synchronisations with an accelerator
_FIRST_ROUNDS = 12  # of conjugate gradients there, until the first synchronisation
_BLUR = 0.005  # of the tolerance: costs about twice its logarithm, a fifth of the tolerance
_TINY = 1e-300


def solve_points(p1_LAK: Tensor, p2_LBK: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Certified bounds of minus the conditional entropy, the dual of the lower one, and the steps taken.

    Problems leave the batch when they are solved. An accelerator is synchronised with every few steps
    only, when the number of rounds of conjugate gradients is set: no value leaves it within a step.
    """
    inner1, inner2 = _blurred(p1_LAK, tolerance), _blurred(p2_LBK, tolerance)
    path = _Path(p1_LAK=inner1, p2_LBK=inner2, cells=coarse_cells(inner2), aim=0.3 * tolerance)
    at = _start(inner1, inner2)
    best = _Best(at)
    weight_LAB, mu_L = at.w_LAB, torch.full_like(best.lower_L, _START)
    open_l = torch.arange(len(p1_LAK), device=p1_LAK.device)
    stride, rounds = (_STRIDE, _FIRST_ROUNDS) if device.is_remote(p1_LAK) else (1, None)
    for step in range(stride, _MOST_STEPS + 1, stride):
        most_L = torch.zeros_like(mu_L)
        for _ in range(stride):
            at, mu_L, gap_L, taken_L = path.step(at, weight_LAB, mu_L, rounds)
            most_L = torch.maximum(most_L, taken_L)
        gaps, used = torch.stack([gap_L, most_L]).tolist()
        rounds = None if rounds is None else min(MOST_ROUNDS, 2 * int(max(used)) + 4)
        best.steps_L[open_l] = step
        is_last = step + stride > _MOST_STEPS
        ready = [i for i, gap in enumerate(gaps) if gap <= 0.8 * tolerance or (is_last and gap < torch.inf)]
        if ready:
            ready_l = torch.tensor(ready, device=p1_LAK.device)
            best.improve(p1_LAK, p2_LBK, at.select(ready_l), open_l[ready_l])
        closed = (best.upper_L - best.lower_L <= tolerance)[open_l].tolist() if ready else [False] * len(gaps)
        keep = [
            i for i, (gap, is_closed) in enumerate(zip(gaps, closed, strict=True)) if gap < torch.inf and not is_closed
        ]
        if not keep:
            break
        if len(keep) < len(gaps):
            keep_l = torch.tensor(keep, device=p1_LAK.device)
            open_l, weight_LAB, mu_L = open_l[keep_l], weight_LAB[keep_l], mu_L[keep_l]
            at, path = at.select(keep_l), path.select(keep_l)
    return best.lower_L, best.upper_L, best.f_LAK, best.g_LBK, best.steps_L


class _Best:
    """The tightest bounds so far, the dual of the lower one, and the steps taken."""

    def __init__(self, at: Iterate) -> None:
        self.lower_L = torch.full_like(at.w_LAB[:, 0, 0], -torch.inf)
        self.upper_L = torch.full_like(self.lower_L, torch.inf)
        self.f_LAK, self.g_LBK = at.f_LAK.clone(), at.g_LBK.clone()
        self.steps_L = torch.zeros_like(self.lower_L, dtype=torch.int64)

    def improve(self, p1_LAK: Tensor, p2_LBK: Tensor, at: Iterate, of_l: Tensor) -> None:
        """Takes what is better of the bounds that iterates give."""
        lower, upper, f, g = _bounds(p1_LAK[of_l], p2_LBK[of_l], at)
        self.upper_L[of_l] = torch.minimum(self.upper_L[of_l], upper)
        higher = (lower > self.lower_L[of_l])[:, None, None]
        self.f_LAK[of_l] = torch.where(higher, f, self.f_LAK[of_l])
        self.g_LBK[of_l] = torch.where(higher, g, self.g_LBK[of_l])
        self.lower_L[of_l] = torch.maximum(self.lower_L[of_l], lower)


def _blurred(p_LNK: Tensor, tolerance: float) -> Tensor:
    """Masses with a little of the marginal mixed into every point, which leaves the marginal as it is.

    A confident model's posteriors hold masses of 1e-10 and less beside ordinary ones; their potentials are so steep
    that steps get nowhere. The bounds are taken at the masses themselves, so they hold all the same.
    """
    fraction = _BLUR * tolerance
    return (1 - fraction) * p_LNK + fraction * p_LNK.sum(2, keepdim=True) * p_LNK.sum(1, keepdim=True)


def _start(p1_LAK: Tensor, p2_LBK: Tensor) -> Iterate:
    """The conditionally independent coupling, whose margins are right; its slacks are not yet."""
    half_L1K = 0.5 * p2_LBK.sum(1, keepdim=True).clamp(min=_TINY).log()
    weight1_LA1, weight2_LB1 = p1_LAK.sum(2, keepdim=True), p2_LBK.sum(2, keepdim=True)

    def potentials(p_LNK: Tensor, weight_LN1: Tensor) -> Tensor:
        posterior = (p_LNK / weight_LN1.clamp(min=_TINY)).clamp(min=1e-15)
        return (posterior.log() - half_L1K).masked_fill(p_LNK <= 0, LOWEST)

    w_LAB = (weight1_LA1 * weight2_LB1.mT).clamp(min=_TINY)
    return Iterate(
        f_LAK=potentials(p1_LAK, weight1_LA1),
        g_LBK=potentials(p2_LBK, weight2_LB1),
        w_LAB=w_LAB,
        slack_LAB=torch.full_like(w_LAB, _START),
    )


@dataclass(frozen=True, kw_only=True)
class _Path:
    """The problems and their last mu."""

    p1_LAK: Tensor
    p2_LBK: Tensor
    cells: Cells
    aim: float

    def select(self, keep_l: Tensor) -> "_Path":
        return _Path(
            p1_LAK=self.p1_LAK[keep_l], p2_LBK=self.p2_LBK[keep_l], cells=self.cells.select(keep_l), aim=self.aim
        )

    def step(
        self, at: Iterate, weight_LAB: Tensor, mu_L: Tensor, rounds: int | None
    ) -> tuple[Iterate, Tensor, Tensor, Tensor]:
        """One Newton step, multipliers with a length of their own; the next mu, the gap, and the rounds it took."""
        target_LAB = mu_L[:, None, None] * weight_LAB
        df, dg, dslack, taken_L = PointsSystem(self.p1_LAK, self.p2_LBK, at, target_LAB, self.cells).solve(rounds)
        dw = (target_LAB - at.w_LAB * dslack) / at.slack_LAB - at.w_LAB
        dual = _length(-dw / at.w_LAB, _TO_BOUNDARY)
        primal = _length(-dslack / at.slack_LAB, _TO_BOUNDARY)
        primal = torch.minimum(primal, torch.minimum(_length(df.abs(), 2.0), _length(dg.abs(), 2.0)))
        moved = Iterate(
            f_LAK=at.f_LAK + primal * df,
            g_LBK=at.g_LBK + primal * dg,
            w_LAB=at.w_LAB + dual * dw,
            slack_LAB=at.slack_LAB + primal * dslack,
        )
        gap_L = (moved.w_LAB * moved.slack_LAB).sum((1, 2))
        is_short_L = (torch.minimum(primal, dual) <= 0.2).to(gap_L)[:, 0, 0]
        shrink_L = _SHRINK + (_SLOW - _SHRINK) * is_short_L
        return moved, (shrink_L * gap_L).clamp(min=self.aim), gap_L, taken_L


def _length(change_LNM: Tensor, most: float) -> Tensor:
    """The longest step, at most 1, that changes nothing by more than ``most``, ``[L, 1, 1]``."""
    return most / change_LNM.amax((1, 2), keepdim=True).clamp(min=most)


def _bounds(p1_LAK: Tensor, p2_LBK: Tensor, at: Iterate) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The bounds that iterates give once made exactly feasible, and the feasible dual."""
    q_LKBA = at.w_LAB.mT[:, None] * at.f_LAK.exp().mT[:, :, None] * at.g_LBK.exp().mT[..., None]
    q_LKBA = round_to_margins(p1_LAK.mT, p2_LBK.mT, q_LKBA)
    w_LBA = q_LKBA.sum(1)
    upper_L = torch.xlogy(q_LKBA, q_LKBA).sum((1, 2, 3)) - torch.xlogy(w_LBA, w_LBA).sum((1, 2))
    f_LAK, g_LBK = feasible(at.f_LAK, at.g_LBK)
    return (p1_LAK * f_LAK).sum((1, 2)) + (p2_LBK * g_LBK).sum((1, 2)), upper_L, f_LAK, g_LBK
