"""Curves that rise once, fitted in noise that is correlated from probe to probe.

Shapes: P curves, N probes, C candidates (a first raised probe and a length of the climb).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MIN_PROBES, MAX_PROBES = 8, 96
"""Fewest probes that a rise is looked for among, most that are fitted: longer curves are averaged in blocks."""
LENGTHS = (1, 2, 4, 8, 16, 32, 64)
"""How many probes a climb may take."""
CORRELATIONS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
"""Correlations of neighbouring probes' noise that are tried."""
_DISCOUNT = 0.4
"""Of the score, times the fitted correlation: the score's distribution in noise then depends least on it."""
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The best of all curves that rise once, and the best that do not, for each of P curves.

    Args:
        first: int64 [C], the first raised probe of each candidate.
        length: int64 [C], how many probes its climb takes.
        flat: float64 [P], -2 log likelihood of the best level without a rise, up to a constant.
        rising: float64 [P, C], the same with each candidate's rise, at the correlation that suits it best.
        rise: float64 [P, C], height of each candidate.
        correlation: float64 [P, C], the correlation that suits each best.
    """

    first: NDArray[np.int64]
    length: NDArray[np.int64]
    flat: Floats
    rising: Floats
    rise: Floats
    correlation: Floats

    def score(self, allowed: NDArray[np.bool_] | None = None) -> Floats:
        """How much better the best rise explains each curve than none does, [P]: 0 for no better.

        Args:
            allowed: bool [C], the candidates that count.
        """
        rising = self.rising if allowed is None else np.where(allowed, self.rising, np.inf)
        best = rising.argmin(-1)
        curves = np.arange(len(best))
        gain: Floats = (self.flat - rising[curves, best]) * (1 - _DISCOUNT * self.correlation[curves, best])
        return np.maximum(gain, 0.0)


def fit(x_PN: Floats) -> Fit:
    """Fit every rise to every curve by Gaussian likelihood, the noise being autoregressive of order 1.

    Level, height, variance and correlation are free; a height below zero counts as no rise.

    Args:
        x_PN: float64 [P, N], of `MIN_PROBES` to `MAX_PROBES` probes.

    Reference:
        Prais, Winsten 1954, "Trend estimators and serial correlation" (the first probe's weight).
        Bai 1997, "Estimation of a change point in multiple regression models".
    """
    curves, n = x_PN.shape
    first, length = candidates(n)
    flat, rising = np.full(curves, np.inf), np.full((curves, len(first)), np.inf)
    rise, correlation = np.zeros_like(rising), np.zeros_like(rising)
    x_PN = x_PN - x_PN.mean(-1, keepdims=True)
    floor = _ROUNDING * (x_PN**2).sum(-1) + np.finfo(np.float64).tiny
    for phi in CORRELATIONS:
        level_N, shapes_NC, heights_C = _basis(n, phi)
        white_PN = _whitened(x_PN, phi)
        along_PC = np.maximum(white_PN @ shapes_NC, 0.0)
        misfit = np.maximum((white_PN**2).sum(-1) - (white_PN @ level_N) ** 2, floor)
        penalty = -np.log1p(-(phi**2))
        flat = np.minimum(flat, n * np.log(misfit) + penalty)
        with_rise = n * np.log(np.maximum(misfit[:, None] - along_PC**2, floor[:, None])) + penalty
        better = with_rise < rising
        rising = np.where(better, with_rise, rising)
        rise = np.where(better, along_PC / heights_C, rise)
        correlation = np.where(better, phi, correlation)
    return Fit(first=first, length=length, flat=flat, rising=rising, rise=rise, correlation=correlation)


@lru_cache(maxsize=8)
def candidates(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First raised probe and length of every candidate; two probes at least before the rise, two in it."""
    pairs = [(k, m) for m in LENGTHS for k in range(2, n - 1) if k + m <= n]
    first, length = np.array(pairs, dtype=np.int64).T
    return first, length


def shape(first: NDArray[np.int64], length: NDArray[np.int64], n: int) -> Floats:
    """Rises of height 1, float64 [N, C]."""
    climbed: Floats = (np.arange(n)[:, None] - first + 1) / length
    return climbed.clip(0.0, 1.0)


def _whitened(x_PN: Floats, phi: float) -> Floats:
    """What each probe adds to what its predecessor foretells of it; the first keeps its own variance."""
    white = x_PN.copy()
    white[..., 1:] -= phi * x_PN[..., :-1]
    white[..., 0] *= np.sqrt(1 - phi**2)
    return white


@lru_cache(maxsize=8 * len(CORRELATIONS))
def _basis(n: int, phi: float) -> tuple[Floats, Floats, Floats]:
    """The whitened level [N], the shapes orthogonal to it [N, C], both of norm 1, and the shapes' norms [C]."""
    level = _whitened(np.ones(n), phi)
    level /= np.linalg.norm(level)
    shapes = _whitened(shape(*candidates(n), n).T, phi).T
    shapes = shapes - np.outer(level, level @ shapes)
    norms = np.linalg.norm(shapes, axis=0)
    return level, shapes / norms, norms
