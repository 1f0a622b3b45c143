"""The union information of two sources about K answers: a batched primal-dual interior-point method.

Primal: minimise ``sum q log(q / w)``, ``w = sum_y q``, over q >= 0 with both source-answer margins fixed, on the
support ``P1(a, y) P2(b, y) > 0``. Its value is minus the conditional entropy of the answer, so the union information
is H(Y) plus it. Dual: maximise ``sum f P1 + sum g P2`` subject to ``sum_y exp(f_y(a) + g_y(b)) <= 1`` for all (a, b).
Any q with the right margins is an upper bound and any feasible (f, g) a lower one: :func:`certificate` makes both
exactly feasible, so the bounds hold whether or not the iteration converged.

With ``z`` the multipliers of q >= 0, the Newton system has per pair (a, b) the Hessian ``diag((1 + z) / q) - 1 1' / w``
whose inverse is ``diag(D) + c D D'``, ``D = q / (1 + z)``, ``c = 1 / sum_y(D z)``. Margins couple the pairs; the larger
source is eliminated in K x K blocks, which leaves a system of size K times the smaller source.

Rescaling a pair costs next to nothing near the end (``1 / c`` is its part of the gap), so the inverse Hessian grows as
the inverse of the gap and what f and g say about it cancels: in plain arithmetic the margins of q are lost at a gap of
1e-9. Below 1e-7 the system is therefore solved for that rescaling ``t`` too, ``dq = D (f + g + t - gradient)``, with
``1 / c`` damped and the damping taken back by iterative refinement.

Shapes: n problems in the batch, K answers, A points of the larger source (eliminated, last: contiguous sums),
B of the smaller. Everything is float64 and in nats.

Reference:
    Banerjee, Rauh, Montufar (2018), Computing the unique information; Makkeh, Theis, Vicente (2018), BROJA-2PID
    (the cone programme); Mehrotra (1992), On the implementation of a primal-dual interior point method.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.pid import device
from fusionscope.pid.union.blocks import factor, half_coupling, margins_of_products, solve_lower, solve_upper

_TO_BOUNDARY = 0.9  # longer steps leave the path, shorter ones are too many
_START_MULTIPLIER = 0.1
# Points that hang together by masses of 1e-15 alone leave the Newton matrix singular to rounding. Since the system is
# solved for increments, adding this fraction of its diagonal is a proximal term: it slows nothing but those directions.
_PROXIMAL = 1e-15
# Fractions of a pair's curvature by which its rescaling is damped, tried in turn on what is still open: 0 is the
# fastest; the others reach gaps under 1e-9 where q shrinks to a few pairs (nearly equal channels), the lighter one with
# fewer steps, the heavier one where the lighter one stalls.
_DAMPING = (0.0, 1e-7, 1e-5)
_TIGHT = 1e-8  # nats: a gap under this starts with damping
_DAMPED_BELOW = 1e-7  # nats: the gap at which damping sets in
_REFINEMENTS = 3
_RIDGE = 1e-6  # fraction of the diagonal added, in damped attempts, to a matrix that rounding left indefinite
_LATE = 24  # iterations after which every iterate is certified: what takes so long may still get worse
FLOOR = 1e-15  # smaller joint masses are left out of the iteration; the certificate counts them
_LOWEST = -745.0  # log of the smallest double
_TINY = 1e-300
_STRIDE = 4  # steps between two synchronisations with an accelerator


@dataclass(kw_only=True)
class _Batch:
    """The problems still being solved, and where they stand. The one mutable thing of the solver."""

    p1_nKA: Tensor
    p2_nKB: Tensor
    centre_nKBA: Tensor
    q_nKBA: Tensor
    z_nKBA: Tensor
    f_nKA: Tensor
    g_nKB: Tensor
    gap_n: Tensor

    def select(self, keep_m: Tensor) -> "_Batch":
        return _Batch(**{name: tensor.index_select(0, keep_m) for name, tensor in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Bounds of minus the conditional entropy, nats [n]; the lower one's feasible dual, the upper one's pair masses."""

    lower_n: Tensor
    upper_n: Tensor
    f_nKA: Tensor
    g_nKB: Tensor
    w_nBA: Tensor


def certificate(p1_nKA: Tensor, p2_nKB: Tensor, q_nKBA: Tensor, f_nKA: Tensor, g_nKB: Tensor) -> Certificate:
    """Bounds from any coupling and any potentials, both made exactly feasible first."""
    q_nKBA = round_to_margins(p1_nKA, p2_nKB, q_nKBA)
    w_n1BA = q_nKBA.sum(1, keepdim=True)
    upper_n = (torch.xlogy(q_nKBA, q_nKBA).sum((1, 2, 3))) - torch.xlogy(w_n1BA, w_n1BA).sum((1, 2, 3))
    f_nKA, g_nKB = feasible_potentials(p1_nKA, p2_nKB, f_nKA, g_nKB)
    lower_n = (p1_nKA * f_nKA).sum((1, 2)) + (p2_nKB * g_nKB).sum((1, 2))
    return Certificate(lower_n=lower_n, upper_n=upper_n, f_nKA=f_nKA, g_nKB=g_nKB, w_nBA=w_n1BA[:, 0])


def feasible_potentials(p1_nKA: Tensor, p2_nKB: Tensor, f_nKA: Tensor, g_nKB: Tensor) -> tuple[Tensor, Tensor]:
    """Shifts each point's potentials by the log of its worst row sum; never worse than one shift for all."""
    f_nKA, g_nKB = _off_support(p1_nKA, f_nKA, g_nKB), _off_support(p2_nKB, g_nKB, f_nKA)
    sums_nBA = (f_nKA[:, :, None] + g_nKB[..., None]).exp().sum(1)
    worst_nA = sums_nBA.amax(1)
    f_nKA = f_nKA - worst_nA.clamp(min=_TINY).log()[:, None]
    worst_nB = (sums_nBA / worst_nA.clamp(min=_TINY)[:, None]).amax(2)
    return f_nKA, g_nKB - worst_nB.clamp(min=_TINY).log()[:, None]


def _off_support(p_nKA: Tensor, f_nKA: Tensor, other_nKB: Tensor) -> Tensor:
    """Potentials where the mass is zero (minus infinity) or under the floor (low, at a cost of mass times 45)."""
    low = -45.0 - other_nKB.amax(2, keepdim=True)
    f_nKA = torch.where(p_nKA > FLOOR, f_nKA, low)
    return f_nKA.masked_fill(p_nKA <= 0, _LOWEST)


def round_to_margins(p1_nKA: Tensor, p2_nKB: Tensor, q_nKBA: Tensor) -> Tensor:
    """The nearest-by-scaling coupling with exactly the given margins (Altschuler, Weed, Rigollet 2017)."""
    q = q_nKBA * _ratio(p1_nKA, q_nKBA.sum(2)).clamp(max=1)[:, :, None]
    q = q * _ratio(p2_nKB, q.sum(3)).clamp(max=1)[..., None]
    short1, short2 = (p1_nKA - q.sum(2)).clamp(min=0), (p2_nKB - q.sum(3)).clamp(min=0)
    return q + short1[:, :, None] * _ratio(short2, short2.sum(-1, keepdim=True))[..., None]


def _ratio(p: Tensor, q: Tensor) -> Tensor:
    return torch.where(q > 0, p / torch.where(q > 0, q, torch.ones_like(q)), torch.zeros_like(q))


def start(p1_nKA: Tensor, p2_nKB: Tensor) -> _Batch:
    """The conditionally independent coupling q0, on the support where both masses exceed ``FLOOR``.

    The path that the iteration follows is ``q z = mu q0``, not ``q z = mu``: then masses of 1e-12, which posteriors of
    a confident model are full of, start on the path with multipliers of ordinary size.
    """
    support = (p1_nKA > FLOOR)[:, :, None] & (p2_nKB > FLOOR)[..., None]
    q = support * p1_nKA[:, :, None] * _ratio(p2_nKB, p2_nKB.sum(-1, keepdim=True))[..., None]
    return _Batch(
        p1_nKA=p1_nKA,
        p2_nKB=p2_nKB,
        centre_nKBA=q / _per_problem(q.sum((1, 2, 3))),
        q_nKBA=q,
        z_nKBA=_START_MULTIPLIER * support.double(),
        f_nKA=torch.zeros_like(p1_nKA),
        g_nKB=torch.zeros_like(p2_nKB),
        gap_n=torch.full_like(q[:, 0, 0, 0], torch.inf),
    )


def solve_many_answers(
    p1_nKA: Tensor, p2_nKB: Tensor, tolerance: float, max_iterations: int = 60
) -> tuple[Certificate, Tensor]:
    """Solves a batch to a certified gap.

    Args:
        p1_nKA: Joint masses of the larger source and the answer, float64; rows may be zero.
        p2_nKB: The same of the smaller source, with the same marginal of the answer.
        tolerance: Certified gap at which a problem leaves the batch, nats.
        max_iterations: After which a problem starts afresh with the next damping; with none left it is returned as it
            stands.

    Returns:
        The best certificate of each problem and the number of iterations it took.
    """
    batch = start(p1_nKA, p2_nKB)
    best = certificate(p1_nKA, p2_nKB, batch.q_nKBA, batch.f_nKA, batch.g_nKB)
    iterations_n = torch.zeros(len(p1_nKA), dtype=torch.int64, device=p1_nKA.device)
    index_n = torch.arange(len(p1_nKA), device=p1_nKA.device)
    for damping in _DAMPING if tolerance > _TIGHT else (*_DAMPING[1:], *_DAMPING[:1]):
        best = _iterate(batch, index_n, best, iterations_n, (tolerance, max_iterations, damping))
        index_n = (best.upper_n - best.lower_n > tolerance).nonzero()[:, 0]
        if not len(index_n):
            break
        batch = start(p1_nKA[index_n], p2_nKB[index_n])
        best = _keep_better(best, _obvious(batch.p1_nKA, batch.p2_nKB), index_n)
    return best, iterations_n


def _iterate(
    batch: _Batch, index_n: Tensor, best: Certificate, iterations_n: Tensor, plan: tuple[float, int, float]
) -> Certificate:
    """Newton steps until every problem of the batch is closed, is lost to rounding, or has used up its steps."""
    tolerance, max_iterations, damping = plan
    stride = _STRIDE if device.is_remote(batch.q_nKBA) else 1
    for iteration in range(0, max_iterations, stride):
        for _ in range(stride):
            _newton_step(batch, damping)
        iterations_n[index_n] += stride
        late = iteration >= _LATE or iteration + stride >= max_iterations
        ready_m = (batch.gap_n < (torch.inf if late else 4 * tolerance)).nonzero()[:, 0]
        if not len(ready_m) and not late:
            continue
        ready = batch.select(ready_m)
        latest = certificate(ready.p1_nKA, ready.p2_nKB, ready.q_nKBA, ready.f_nKA, ready.g_nKB)
        best = _keep_better(best, latest, index_n[ready_m])
        open_n = ((best.upper_n - best.lower_n)[index_n] > tolerance) & batch.gap_n.isfinite()
        open_m = open_n.nonzero()[:, 0]
        batch, index_n = batch.select(open_m), index_n[open_m]
        if not len(index_n):
            break
    return best


def _obvious(p1_nKA: Tensor, p2_nKB: Tensor) -> Certificate:
    """Bounds that are exact for identical sources: either source's information, and the diagonal coupling."""
    f_nKA, g_nKB = (_ratio(p, p.sum(1, keepdim=True)).clamp(min=_TINY).log() for p in (p1_nKA, p2_nKB))
    first_n = ((p1_nKA * f_nKA).sum((1, 2)) >= (p2_nKB * g_nKB).sum((1, 2)))[:, None, None]
    diagonal = torch.eye(p2_nKB.shape[2], p1_nKA.shape[2], dtype=p1_nKA.dtype, device=p1_nKA.device)
    q_nKBA = p1_nKA[:, :, None] * diagonal
    return certificate(p1_nKA, p2_nKB, q_nKBA, torch.where(first_n, f_nKA, 0.0), torch.where(first_n, 0.0, g_nKB))


def _keep_better(best: Certificate, latest: Certificate, index_m: Tensor) -> Certificate:
    """Replaces bounds that got tighter, each on its own: both hold."""
    higher_m = latest.lower_n > best.lower_n[index_m]
    lower_m = latest.upper_n < best.upper_n[index_m]
    parts = {}
    for names, better_m in ((("lower_n", "f_nKA", "g_nKB"), higher_m), (("upper_n", "w_nBA"), lower_m)):
        for name in names:
            old, new = getattr(best, name), getattr(latest, name)
            better = better_m.view(-1, *[1] * (new.ndim - 1))
            parts[name] = old.index_copy(0, index_m, torch.where(better, new, old[index_m]))
    return Certificate(**parts)


def _newton_step(batch: _Batch, damping: float = 0.0) -> None:
    """One predictor-corrector step, in place; no value leaves the device."""
    q, z = batch.q_nKBA, batch.z_nKBA
    off = (q == 0).double()
    q_or_one = q + off
    w_n1BA = q.sum(1, keepdim=True)
    w_n1BA = w_n1BA + (w_n1BA == 0)
    slack = (q_or_one / (w_n1BA + off)).log_() - batch.f_nKA[:, :, None] - batch.g_nKB[..., None]
    qz = q * z
    gap = _per_problem(qz.sum((1, 2, 3)))
    system = _System(batch, damping)
    dq = system.solve(slack)[0]
    rel = dq / q_or_one
    primal, dual = _step_length(-rel, 1.0), _step_length(1 + rel, 1.0)
    gap_ahead = _per_problem((qz * (1 + primal * rel) * (1 - dual * (1 + rel))).sum((1, 2, 3)))
    target = gap_ahead.clamp(min=0) ** 2 / gap * batch.centre_nKBA
    # What the predictor neglects, to second order: the product dq dz, and the curvature of log(q / w).
    target = target + qz * rel * (1 + rel) * primal * dual
    curvature = 0.5 * torch.minimum(primal, dual) ** 2 * (rel**2 - (dq.sum(1, keepdim=True) / w_n1BA) ** 2)
    dq, df, dg = system.solve(slack - target / q_or_one - curvature)
    rel = dq / q_or_one
    rel_z = (1 + rel) - target / (qz + off)
    batch.q_nKBA = q + _step_length(-rel, _TO_BOUNDARY) * dq
    batch.z_nKBA = z * (1 - _step_length(rel_z, _TO_BOUNDARY) * rel_z)
    batch.f_nKA, batch.g_nKB = batch.f_nKA + df, batch.g_nKB + dg
    batch.gap_n = (batch.q_nKBA * batch.z_nKBA).sum((1, 2, 3))


def _per_problem(x_n: Tensor) -> Tensor:
    return x_n[:, None, None, None]


def _step_length(shrink_nKBA: Tensor, most: float) -> Tensor:
    """The longest step, at most 1, after which nothing shrinks by more than ``most`` of itself."""
    return _per_problem(most / shrink_nKBA.amax((1, 2, 3)).clamp(min=most))


class _System:
    """The Newton system at one iterate: factored once, solved for several right-hand sides.

    ``A dq = P - A q`` and ``1 / c t = sum_y D (A' (df, dg) - gradient)`` with ``dq = D (A' (df, dg) - gradient + t)``;
    eliminating t gives ``A H^-1 A' (df, dg) = A H^-1 gradient + (P - A q)``.
    """

    def __init__(self, batch: _Batch, damping: float) -> None:
        self.d = batch.q_nKBA / (1 + batch.z_nKBA)
        self.stiffness = (self.d * batch.z_nKBA).sum(1, keepdim=True)
        self.refinements = _REFINEMENTS if damping else 0
        damped = torch.where(self.stiffness > 0, self.stiffness, torch.inf)
        if damping:
            fraction_n = damping * (batch.gap_n < _DAMPED_BELOW)
            damped = torch.maximum(damped, _per_problem(fraction_n) * self.d.sum(1, keepdim=True))
        self.root = damped.rsqrt()
        self.e = self.d * self.root
        self.residual_nKA = batch.p1_nKA - batch.q_nKBA.sum(2)
        self.residual_nKB = batch.p2_nKB - batch.q_nKBA.sum(3)
        self._factorise(batch)

    def _factorise(self, batch: _Batch) -> None:
        n, k, n_b, _ = self.d.shape
        m11_nKKA, m22_nKKB = margins_of_products(self.e)
        m11_nKKA.diagonal(dim1=1, dim2=2).add_(_or_one(self.d.sum(2)).movedim(1, 2))
        m22_nKKB.diagonal(dim1=1, dim2=2).add_(_or_one(self.d.sum(3)).movedim(1, 2))
        m11_nKKA.diagonal(dim1=1, dim2=2).mul_(1 + _PROXIMAL)
        m22_nKKB.diagonal(dim1=1, dim2=2).mul_(1 + _PROXIMAL)
        self.low_nKKA = factor(m11_nKKA)
        self.w_nRC = half_coupling(self.low_nKKA, self.d, self.e)
        schur = torch.zeros(n, k, n_b, k, n_b, dtype=self.d.dtype, device=self.d.device)
        schur.diagonal(dim1=2, dim2=4).copy_(m22_nKKB)
        schur = torch.baddbmm(schur.view(n, k * n_b, k * n_b), self.w_nRC, self.w_nRC.mT, alpha=-1)
        # The potentials are free up to f_y + c_y, g_y - c_y: pin sum_b g_y(b) = 0, at the scale of the system.
        on_nKB = (batch.p2_nKB > FLOOR).double()
        scale_nK = (self.d.sum(3) * on_nKB).sum(-1) / on_nKB.sum(-1).clamp(min=1) ** 2
        pin_nKB = on_nKB * scale_nK.sqrt()[..., None]
        schur.view(n, k, n_b, k, n_b).diagonal(dim1=1, dim2=3).add_(
            (pin_nKB[..., None] * pin_nKB[:, :, None]).movedim(1, 3)
        )
        self.chol_nRR, fails_n = torch.linalg.cholesky_ex(schur)
        if self.refinements:
            ridge_nBK = _RIDGE * m22_nKKB.diagonal(dim1=1, dim2=2)
            schur.diagonal(dim1=1, dim2=2).add_(ridge_nBK.mT.reshape(n, -1))
            ridged_nRR = torch.linalg.cholesky_ex(schur)[0]
            self.chol_nRR = torch.where((fails_n > 0)[:, None, None], ridged_nRR, self.chol_nRR)

    def solve(self, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The directions of q and of the potentials.

        The gradient is taken at the present potentials, so that what is solved for shrinks with the gap: solving for
        the potentials themselves loses the margins of q near the end.
        """
        pull = self.d * gradient
        f_nKA, g_nKB, both, t_n1BA = self._solve(pull, pull.sum(1, keepdim=True))
        dq = self.d * (both + t_n1BA) - pull
        for _ in range(self.refinements):
            off_n1BA = self.stiffness * t_n1BA - (dq - self.d * t_n1BA).sum(1, keepdim=True)
            more_f, more_g, more_both, more_t = self._solve(-dq, off_n1BA)
            f_nKA, g_nKB, both, t_n1BA = f_nKA + more_f, g_nKB + more_g, both + more_both, t_n1BA + more_t
            dq = self.d * (both + t_n1BA) - pull
        return dq, f_nKA, g_nKB

    def _solve(self, load_nKBA: Tensor, off_n1BA: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Potentials, their sums and t, for margins ``residual + A load`` and the equation of t off by ``off``."""
        n, k, n_b, n_a = self.d.shape
        off_n1BA = off_n1BA * self.root
        load_nKBA = load_nKBA + self.e * off_n1BA
        first_nKA = solve_lower(self.low_nKKA, load_nKBA.sum(2) + self.residual_nKA)
        second_nKB = load_nKBA.sum(3) + self.residual_nKB
        right = second_nKB.reshape(n, -1, 1) - self.w_nRC @ first_nKA.reshape(n, -1, 1)
        g_nR1 = torch.cholesky_solve(right, self.chol_nRR)
        back_nKA = first_nKA - (self.w_nRC.mT @ g_nR1).view(n, k, n_a)
        f_nKA, g_nKB = solve_upper(self.low_nKKA, back_nKA), g_nR1.view(n, k, n_b)
        both = f_nKA[:, :, None] + g_nKB[..., None]
        return f_nKA, g_nKB, both, ((self.e * both).sum(1, keepdim=True) - off_n1BA) * self.root


def _or_one(x: Tensor) -> Tensor:
    """Points without any support get a unit block, which leaves their potentials at 0."""
    return torch.where(x > 0, x, torch.ones_like(x))
