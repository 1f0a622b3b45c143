"""Where a noisy curve leaves the level it had before its main rise: location, interval, permutation null.

Shapes: P replicates (permutations or bootstraps), N probes.
"""

import math
from dataclasses import dataclass
from itertools import permutations as orders

import numpy as np
from numpy.typing import NDArray

from fusionscope.errors import InputError

Floats = NDArray[np.float64]
RESOLUTION = 0.05
"""Bits. A rise smaller than this is not called one: what the designs resolve on the sandbox."""
ONE_SIDED_95 = 1.6448536269514722
_MAD_TO_SIGMA = 1.4826022185056018
_ENUMERABLE = 7
_CELLS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Change:
    """Where a curve rises for good above the level that it had before its main rise.

    Args:
        index: First probe from which the curve stays above ``null``, or None: the rise is not significant, or the curve
            is not above the null at its end.
        low, high: The probes between which that one lies with 95 % confidence; None with ``index``.
        null: The level to stay above, in bits.
        p_value: Of the permutation test against "the order of the probes means nothing"; NaN for fewer than 4 probes.
    """

    index: int | None
    low: int | None
    high: int | None
    null: float
    p_value: float


def change_point(
    values: Floats,
    errors: Floats,
    *,
    level: float = 0.01,
    permutations: int = 1999,
    bootstraps: int = 500,
    seed: int = 0,
) -> Change:
    """Find where a curve leaves the level that it had before its main rise.

    Every probe is compared with its two neighbours (running median of three), so that one noisy probe neither makes
    nor hides a rise. The main rise is the split into two levels that explains most; it begins where the climb to it
    does. The level before is the median of the probes up to there; the null lies above it by the one-sided 95 %
    margin of a probe, from the standard errors or from the spread of those probes, and by no less than `RESOLUTION`.
    That the curve rises at all is tested by permuting the probes: the statistic is the sum of distances between the
    probes and the rising curve fitted to them (isotonic regression of the medians). The interval comes from drawing
    curves around the smoothed one, with the noise of the standard errors or, where it is larger, of the residuals.

    Under the null hypothesis the probes must be exchangeable: a slow drift that is not noise counts as a rise once it
    is above `RESOLUTION`. With N probes the smallest possible p is 1/N!; fewer than 5 probes cannot reach 1 %.

    Args:
        values: float [N] in bits, in order of the steps.
        errors: float [N], their standard errors; zero or NaN where unknown.
        level: Level of the permutation test.
        permutations: Random orders drawn; all orders are taken up to 7 probes.
        bootstraps: Curves drawn for the interval.
        seed: Of both draws.

    Returns:
        The change.

    Raises:
        InputError: Values and errors that are no two vectors of one length, or hold NaN.

    Reference:
        Barlow, Bartholomew, Bremner, Brunk 1972, "Statistical Inference under Order Restrictions" (isotonic fits).
        Tukey 1977, "Exploratory Data Analysis" (running medians and their end rule).

    Example:
        >>> curve = np.array([0.0, 0.02, -0.01, 0.9, 0.01, 0.02, 0.4, 0.9, 1.5, 1.9, 2.0])  # the fourth is noise
        >>> found = change_point(curve, np.full(11, 0.02))
        >>> found.index, found.p_value < 0.01
        (6, True)
    """
    x_N, e_N = np.asarray(values, dtype=np.float64), np.nan_to_num(np.asarray(errors, dtype=np.float64))
    if x_N.ndim != 1 or x_N.shape != e_N.shape or not len(x_N) or not np.isfinite(x_N).all():
        raise InputError(
            f"values {x_N.shape} and errors {e_N.shape}", "a curve is finite numbers, one error each", "leave out NaN"
        )
    generator = np.random.default_rng(seed)
    place_1, null_1 = _stays_above(x_N[None], e_N)
    p_value = _p_value(x_N, permutations, generator)
    if place_1[0] < 0 or not p_value <= level:
        return Change(index=None, low=None, high=None, null=float(null_1[0]), p_value=p_value)
    low, high = _interval(x_N, e_N, int(place_1[0]), bootstraps, generator)
    return Change(index=int(place_1[0]), low=low, high=high, null=float(null_1[0]), p_value=p_value)


def smooth(x_PN: Floats) -> Floats:
    """Running median of three; the first probe may not be high on its own, the last follows Tukey's end rule."""
    if x_PN.shape[-1] < 3:
        return x_PN
    middle = np.median(np.stack([x_PN[..., :-2], x_PN[..., 1:-1], x_PN[..., 2:]]), axis=0)
    first = np.minimum(x_PN[..., 0], middle[..., 0])
    before = middle[..., -2] if middle.shape[-1] > 1 else middle[..., -1]
    last = np.median(np.stack([x_PN[..., -1], middle[..., -1], 3 * middle[..., -1] - 2 * before]), axis=0)
    return np.concatenate([first[..., None], middle, last[..., None]], axis=-1)


def isotonic(x_PN: Floats) -> Floats:
    """The closest curve that never falls, by the formula max over a <= i of min over b >= i of the mean from a to b."""
    n = x_PN.shape[-1]
    sums = np.concatenate([np.zeros((*x_PN.shape[:-1], 1)), x_PN.cumsum(-1)], axis=-1)
    lengths = np.arange(n)[None, :] - np.arange(n)[:, None] + 1
    means_ab = (sums[..., None, 1:] - sums[..., :-1, None]) / np.maximum(lengths, 1)
    means_ab = np.where(lengths > 0, means_ab, np.inf)
    least_ai = np.minimum.accumulate(means_ab[..., ::-1], axis=-1)[..., ::-1]
    fitted: Floats = np.where(lengths > 0, least_ai, -np.inf).max(-2)
    return fitted


def _stays_above(x_PN: Floats, e_N: Floats) -> tuple[NDArray[np.int64], Floats]:
    """First probe from which the smoothed curve stays above its null (-1 for none), and the null."""
    s_PN = smooth(x_PN)
    margin = ONE_SIDED_95 * float(np.median(e_N))
    null_P = np.empty(len(x_PN))
    for row, begin in enumerate(_main_rise(s_PN)):
        before = x_PN[row, : begin + 1]
        level = float(np.median(before))
        spread = ONE_SIDED_95 * _MAD_TO_SIGMA * float(np.median(np.abs(before - level)))
        null_P[row] = max(level, 0.0) + max(RESOLUTION, margin, spread)
    stays_PN = np.logical_and.accumulate((s_PN > null_P[:, None])[:, ::-1], axis=-1)[:, ::-1]
    return np.where(stays_PN[:, -1], stays_PN.argmax(-1), -1), null_P


def _main_rise(s_PN: Floats) -> NDArray[np.int64]:
    """Where the climb to the main rise begins: the last probe before it."""
    n = s_PN.shape[-1]
    if n == 1:
        return np.zeros(len(s_PN), dtype=np.int64)
    k_N = np.arange(1, n)
    sums = s_PN.cumsum(-1)
    step = (sums[:, -1:] - sums[:, :-1]) / (n - k_N) - sums[:, :-1] / k_N
    split_P = (np.sqrt(k_N * (n - k_N)) * step).argmax(-1)
    flat_PN = np.diff(s_PN, axis=-1, prepend=np.inf) <= 0
    begins_PN = np.maximum.accumulate(np.where(flat_PN, np.arange(n), 0), axis=-1)
    found: NDArray[np.int64] = begins_PN[np.arange(len(s_PN)), split_P]
    return found


def _misfit(x_PN: Floats) -> Floats:
    """Distance between each curve and the rising one fitted to it, in chunks that fit into memory."""
    size = max(1, _CELLS // x_PN.shape[-1] ** 2)
    chunks = [x_PN[i : i + size] for i in range(0, len(x_PN), size)]
    return np.concatenate([np.abs(chunk - isotonic(smooth(chunk))).sum(-1) for chunk in chunks])


def _p_value(x_N: Floats, permutations: int, generator: np.random.Generator) -> float:
    n = len(x_N)
    if n < 4:
        return math.nan
    # Equal distances count against the curve; the margin is for the rounding of equal ones.
    found = _misfit(x_N[None])[0] + 1e-9 * np.abs(x_N).sum()
    if n <= _ENUMERABLE:
        return float((_misfit(x_N[np.array(list(orders(range(n))))]) <= found).mean())
    drawn = generator.permuted(np.tile(x_N, (permutations, 1)), axis=1)
    return float((1 + (_misfit(drawn) <= found).sum()) / (permutations + 1))


def _interval(x_N: Floats, e_N: Floats, place: int, bootstraps: int, generator: np.random.Generator) -> tuple[int, int]:
    """The 95 % interval of the place, widened so that it holds the place itself."""
    fitted = smooth(x_N[None])[0]
    residual = _MAD_TO_SIGMA * float(np.median(np.abs(x_N - fitted)))
    noise = generator.standard_normal((bootstraps, len(x_N))) * np.maximum(e_N, residual)
    places, _ = _stays_above(fitted + noise, np.maximum(e_N, residual))
    places = np.where(places < 0, len(x_N) - 1, places)
    low, high = np.quantile(places, [0.025, 0.975], method="inverted_cdf")
    return min(int(low), place), max(int(high), place)
