"""The union information of two Gaussian channels: a convex problem, solved with a certificate.

Legend: Y target numbers (white), R1, R2 numbers of the two channels (white noise), R the smaller of both.

The channels are X1 = H1 Y + N1 and X2 = H2 Y + N2. Only the noise correlation s = E[N1 N2'] is free, with
spectral norm at most 1. The information (1/2) [log det(W + O) - log det O], O = [[I, s], [s', I]], W = H H',
is convex in s (Diggavi and Cover 2001). With G its gradient, every other s' has f(s') >= f(s) + <G, s' - s>,
so

    f(s) - <G, s> - |G|_nuclear <= min f <= f(s),

a certified interval from one singular value decomposition. Newton steps on f - mu log det(I - s's) for
falling mu, by conjugate gradients; at the optimum for mu the interval is at most 2 mu R wide.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["GaussianUnion", "solve_union"]

_MU_FALL = 0.15
_NEWTON_STEPS = 25
_CG_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class GaussianUnion:
    """A certified interval of the union information, in nats.

    Args:
        lower: Certified lower bound.
        upper: Certified upper bound, attained by `correlation`.
        correlation: The noise correlation that attains the upper bound, [R1, R2].
        gradient_norm: Frobenius norm of the gradient of the information there; not small at the boundary.
        steps: Newton steps taken.
    """

    lower: float
    upper: float
    correlation: Tensor
    gradient_norm: float
    steps: int


def solve_union(h1: Tensor, h2: Tensor, *, tolerance: float) -> GaussianUnion:
    """Minimise the information over the noise correlation.

    Args:
        h1: The first channel, float64 [R1, Y], noise white.
        h2: The second channel, float64 [R2, Y].
        tolerance: Width of the certified interval at which to stop, nats.

    Returns:
        The interval; wider than `tolerance` only where rounding stops progress.

    Reference:
        Venkatesh, Bennett, Gale, et al. (2023), Gaussian partial information decomposition, NeurIPS, equation
        8.

    >>> h = torch.ones(1, 1, dtype=torch.float64)
    >>> union = solve_union(2 * h, h, tolerance=1e-9)
    >>> abs(union.upper - 0.5 * torch.log(torch.tensor(5.0).double()).item()) < 1e-9
    True
    """
    if h1.shape[0] > h2.shape[0]:
        swapped = solve_union(h2, h1, tolerance=tolerance)
        return replace(swapped, correlation=swapped.correlation.T)
    problem = _Problem(h1, h2)
    s = torch.zeros(h1.shape[0], h2.shape[0], dtype=h1.dtype, device=h1.device)
    best = problem.interval(s, 0)
    for candidate in _degradations(h1, h2):
        best = _tighter(best, problem.interval(candidate, 0))
    mu, steps = 0.1, 0
    while mu * s.shape[0] > tolerance / 50 and best.upper - best.lower > tolerance:
        for _ in range(_NEWTON_STEPS):
            s, decrement = problem.newton_step(s, mu)
            steps += 1
            if decrement < 1e-4 * mu:
                break
        best = _tighter(best, problem.interval(s, steps))
        mu *= _MU_FALL
    return best


def _tighter(best: GaussianUnion, now: GaussianUnion) -> GaussianUnion:
    """The better bound of each side; the correlation that attains the upper one."""
    leader = now if now.upper <= best.upper else best
    return replace(leader, lower=max(best.lower, now.lower), steps=now.steps)


def _degradations(h1: Tensor, h2: Tensor) -> list[Tensor]:
    """The correlations that are optimal where one channel is a noisier version of the other.

    Always so for a scalar target, where this gives Barrett's closed form.
    """
    if not h1.numel() or not h2.numel():
        return []
    candidates = []
    for s in (h1 @ torch.linalg.pinv(h2), (h2 @ torch.linalg.pinv(h1)).T):
        u, values, vt = torch.linalg.svd(s, full_matrices=False)
        candidates.append(u @ (values.clamp(max=1 - 1e-10)[:, None] * vt))
    return candidates


class _Problem:
    """Values, gradients and curvature of the information in the noise correlation."""

    def __init__(self, h1: Tensor, h2: Tensor) -> None:
        self.h1, self.h2 = h1, h2
        self.n1 = h1.shape[0]
        h = torch.cat([h1, h2])
        self.noise_and_signal = h @ h.T + torch.eye(h.shape[0], dtype=h.dtype, device=h.device)
        self.alone = torch.eye(h.shape[1], dtype=h.dtype, device=h.device) + h2.T @ h2

    def _precision(self, s: Tensor, spectrum: "_Spectrum") -> tuple[Tensor, Tensor]:
        """The target's precision given both channels, and what the first channel adds, per unit of its noise.

        In this form nothing cancels near the boundary, as it would in log det(W + O) - log det O.
        """
        excess = self.h1 - s @ self.h2
        added = spectrum.solve_noise(excess)
        return self.alone + excess.T @ added, added

    def value(self, s: Tensor, mu: float = 0.0) -> Tensor:
        """The information in nats, plus mu times the barrier; infinite outside the feasible set."""
        spectrum = _Spectrum(s)
        factor, fails = torch.linalg.cholesky_ex(self._precision(s, spectrum)[0])
        inside = (fails == 0) & (spectrum.largest < 1)
        return torch.where(inside, factor.diagonal().log().sum() + mu * spectrum.barrier(), torch.inf)

    def gradient(self, s: Tensor) -> Tensor:
        """Of the information, in the noise correlation."""
        precision, added = self._precision(s, _Spectrum(s))
        factor = torch.linalg.cholesky(precision)
        return added @ torch.cholesky_solve(added.T @ s - self.h2.T, factor)

    def interval(self, s: Tensor, steps: int) -> GaussianUnion:
        """The certified interval at a correlation."""
        if s.numel() == 0:
            upper = float(torch.linalg.cholesky(self.alone + self.h1.T @ self.h1).diagonal().log().sum())
            return GaussianUnion(lower=upper, upper=upper, correlation=s, gradient_norm=0.0, steps=steps)
        gradient, upper = self.gradient(s), float(self.value(s))
        width = float((gradient * s).sum() + torch.linalg.matrix_norm(gradient, "nuc"))
        return GaussianUnion(
            lower=upper - width, upper=upper, correlation=s, gradient_norm=float(gradient.norm()), steps=steps
        )

    def newton_step(self, s: Tensor, mu: float) -> tuple[Tensor, float]:
        """One damped Newton step; the new correlation and half the squared Newton decrement."""
        spectrum = _Spectrum(s)
        noise_and_signal = self.noise_and_signal.clone()
        noise_and_signal[: self.n1, self.n1 :] += s
        noise_and_signal[self.n1 :, : self.n1] += s.T
        k = torch.linalg.inv(noise_and_signal)
        k11, k12, k22 = k[: self.n1, : self.n1], k[: self.n1, self.n1 :], k[self.n1 :, self.n1 :]
        gradient = self.gradient(s) + 2 * mu * spectrum.barrier_gradient()

        def curvature(e: Tensor) -> Tensor:
            return (1 + 2 * mu) * spectrum.barrier_curvature(e) - (k11 @ e @ k22 + k12 @ e.T @ k12)

        direction = _conjugate_gradients(curvature, -gradient, spectrum.inverse_curvature)
        slope = float((gradient * direction).sum())
        start, step = self.value(s, mu), 1.0
        while step > 1e-10:
            moved = s + step * direction
            # The negated test also turns away a value that is not a number.
            if not bool(self.value(moved, mu) > start + 1e-4 * step * slope):
                return moved, -slope / 2
            step /= 2
        return s, 0.0


class _Spectrum:
    """The singular basis of a correlation, where the curvature of -log det(I - s's) falls into 2 x 2 blocks.

    Gradient and curvature are those of half the barrier, -(1/2) log det(I - s's).
    """

    def __init__(self, s: Tensor) -> None:
        self.u, values, self.vt = torch.linalg.svd(s)
        rows, columns = s.shape
        square = values.new_zeros(columns)
        square[:rows] = values
        inverse = 1 / ((1 - square) * (1 + square)).clamp_min(1e-300)
        scaled = square * inverse
        self.largest, self.inverse = values.max(), inverse[:rows]
        self.scaled = scaled[:rows]
        self.straight = inverse[:rows, None] * inverse[None]
        # The last columns have no partner: their crossed term is zero.
        self.crossed = scaled[:rows, None] * scaled[None]

    def barrier(self) -> Tensor:
        """-log det(I - s's), the whole barrier."""
        return self.inverse.log().sum()

    def solve_noise(self, right: Tensor) -> Tensor:
        """(I - s s')^-1 times the argument."""
        return self.u @ (self.inverse[:, None] * (self.u.T @ right))

    def _partner(self, e: Tensor) -> Tensor:
        """The transpose of the leading square, zero beyond it."""
        rows = e.shape[0]
        return torch.cat([e[:, :rows].T, torch.zeros_like(e[:, rows:])], dim=1)

    def barrier_gradient(self) -> Tensor:
        rows = self.scaled.shape[0]
        return self.u @ (self.scaled[:, None] * self.vt[:rows])

    def barrier_curvature(self, e: Tensor) -> Tensor:
        inner = self.u.T @ e @ self.vt.T
        return self.u @ (self.straight * inner + self.crossed * self._partner(inner)) @ self.vt

    def inverse_curvature(self, e: Tensor) -> Tensor:
        inner = self.u.T @ e @ self.vt.T
        # straight - crossed and straight + crossed stay positive up to the boundary.
        size = (self.straight - self.crossed) * (self.straight + self.crossed)
        solved = (self.straight * inner - self.crossed * self._partner(inner)) / size
        return self.u @ solved @ self.vt


def _conjugate_gradients(
    curvature: Callable[[Tensor], Tensor], right: Tensor, precondition: Callable[[Tensor], Tensor]
) -> Tensor:
    """Solve curvature(x) = right to a hundredth in the preconditioner's norm, or as far as 200 steps lead."""
    x, residual = torch.zeros_like(right), right
    z = precondition(residual)
    p, rho = z, (residual * z).sum()
    target = 1e-4 * rho
    for _ in range(_CG_STEPS):
        hp = curvature(p)
        curved = (p * hp).sum()
        if not bool(curved > 0):
            break
        alpha = rho / curved
        x, residual = x + alpha * p, residual - alpha * hp
        z = precondition(residual)
        rho, before = (residual * z).sum(), rho
        if bool(rho < target):
            break
        p = z + (rho / before) * p
    return x
