"""Where a noisy curve leaves the level it had before its main rise: location, interval, test against noise.

Shapes: N probes, M blocks of probes, C candidates.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusionscope.errors import InputError
from fusionscope.records.onset_null import p_value
from fusionscope.records.ramps import MAX_PROBES, MIN_PROBES, Fit, Floats, fit, shape

RESOLUTION = 0.05
"""Bits. A rise smaller than this is not called one: what the designs resolve on the sandbox."""
ONE_SIDED_95 = 1.6448536269514722
_MAD_TO_SIGMA = 1.4826022185056018
_OUTLYING, _RELAPSED = 5.0, 3.0
"""Standard deviations from which a probe is not believed by itself, and is below the rise."""
_OF_DISTANCES, _TO_SIGMA = 0.6, 0.5284
"""The quantile of white noise's distances from its running median of three, which is 0 for a third of them."""
_SLACK = 1.2
"""Of the interval's threshold, over the one that holds for many probes; its coverage: tools/check_claims.py."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Where a curve rises for good above the level that it had before its main rise.

    Args:
        index: First probe from which the curve stays above ``null``, or None: no rise above it, or none that lasts, or
            one that is not significant.
        low, high: The probes between which that one lies, at the coverage asked for; None with ``index``.
        null: The level to stay above, in bits.
        p_value: Of the test against noise without a rise; NaN for fewer than 8 probes.
    """

    index: int | None
    low: int | None
    high: int | None
    null: float
    p_value: float


def change_point(values: Floats, errors: Floats, *, level: float = 0.01, coverage: float = 0.95) -> Change:
    """Find where a curve leaves the level that it had before its main rise.

    Two explanations of the curve are compared: one level with autoregressive noise (correlation of neighbouring probes
    0 to 0.9), and a level that rises once, at once or over some probes, with such noise. The score is how much better
    the second is; its distribution in noise without a rise, at the worst correlation, is simulated once
    (`fusionscope.records.onset_null`). The test asks nothing of the standard errors: noise may be larger than they are.
    A probe far from both neighbours counts as the middle one of the three, and the first and the last never exceed
    their two neighbours, so that one noisy probe neither makes nor hides a rise.

    The level before is the median of the probes before the best rise; the null lies above it by the one-sided 95 %
    margin of a probe, from the standard errors or from the spread of those probes, and by no less than `RESOLUTION`.
    The onset is where the best rise crosses it; rises that the curve falls back from do not count. The interval holds
    every onset whose best explanation is not much worse than the best of all.

    Work is linear in the number of probes: above 96, equal blocks of them are averaged first. Low and high are then
    ends of blocks.

    Args:
        values: float [N] in bits, in order of the steps.
        errors: float [N], their standard errors; zero or NaN where unknown.
        level: Level of the test.
        coverage: Of the interval.

    Returns:
        The change.

    Raises:
        InputError: Values and errors that are no two vectors of one length, or hold NaN.

    Reference:
        Bai 1997, "Estimation of a change point in multiple regression models". Siegmund 1988, "Confidence sets in
        change-point problems". Hampel 1974, "The influence curve and its role in robust estimation" (outlying probes).

    Example:
        >>> curve = np.array([0.0, 0.02, -0.01, 0.9, 0.01, 0.02, 0.4, 0.9, 1.5, 1.9, 2.0])  # the fourth is noise
        >>> change = change_point(curve, np.full(11, 0.02))
        >>> change.index, change.p_value < 0.01
        (6, True)
    """
    x_N, e_N = np.asarray(values, dtype=np.float64), np.nan_to_num(np.asarray(errors, dtype=np.float64))
    if x_N.ndim != 1 or x_N.shape != e_N.shape or not len(x_N) or not np.isfinite(x_N).all():
        raise InputError(
            f"values {x_N.shape} and errors {e_N.shape}", "a curve is finite numbers, one error each", "leave out NaN"
        )
    error = float(np.median(e_N))
    if len(x_N) < MIN_PROBES:
        return _none(_null(x_N[:1], error), math.nan)
    size = -(-len(x_N) // MAX_PROBES)
    y_M = cleaned(_block_means(x_N, size))
    rises = fit(y_M[None])
    begin = int(rises.first[rises.rising[0].argmin()])
    null, level_before = _null(y_M[:begin], error), float(np.median(y_M[:begin]))
    onset_C = _crossings(rises, null - level_before)
    lasts_C = (onset_C > _last_relapse(y_M, rises, null, error)) & (rises.rise[0] > 0)
    if not lasts_C.any():
        return _none(null, p_value(float(rises.score()[0]), len(y_M)))
    best = int(np.where(lasts_C, rises.rising[0], np.inf).argmin())
    p = p_value(float(rises.score(lasts_C)[0]), len(y_M))
    if p > level or rises.rise[0, best] <= null - level_before:
        return _none(null, p)
    near_C = lasts_C & (rises.rising[0] - rises.rising[0, best] <= _threshold(coverage, len(y_M)))
    low, high = _probes(int(onset_C[near_C].min()), int(onset_C[near_C].max()), size, len(x_N))
    index = _refined(x_N, int(onset_C[best]), size)
    return Change(index=index, low=min(low, index), high=max(high, index), null=null, p_value=p)


def cleaned(x_N: Floats) -> Floats:
    """Curves [..., N] without what one probe alone says.

    A probe further than five standard deviations from the running median of three becomes that median, the deviation
    being judged by how far the others are from theirs; the first and the last probe are brought between their two
    neighbours.
    """
    if x_N.shape[-1] < 3:
        return x_N
    median = running_median(x_N)
    distance = np.abs(x_N - median)
    scale = np.quantile(distance, _OF_DISTANCES, axis=-1, keepdims=True) / _TO_SIGMA
    clean: Floats = np.where(distance > _OUTLYING * scale, median, x_N)
    for end, neighbours in ((0, x_N[..., 1:3]), (-1, x_N[..., -3:-1])):
        clean[..., end] = x_N[..., end].clip(neighbours.min(-1), neighbours.max(-1))
    return clean


def running_median(x_N: Floats) -> Floats:
    """Median of each probe and its two neighbours along the last axis; at the ends, of the three there."""
    inner: Floats = np.median(np.stack([x_N[..., :-2], x_N[..., 1:-1], x_N[..., 2:]]), axis=0)
    return np.concatenate([inner[..., :1], inner, inner[..., -1:]], axis=-1)


def _none(null: float, p: float) -> Change:
    return Change(index=None, low=None, high=None, null=null, p_value=p)


def _block_means(x_N: Floats, size: int) -> Floats:
    """Means of as many probes each, the last block of those that are left."""
    starts = np.arange(0, len(x_N), size)
    sizes = np.diff(np.append(starts, len(x_N)))
    means: Floats = np.add.reduceat(x_N, starts) / sizes
    return means


def _null(before: Floats, error: float) -> float:
    """The level to stay above: what a probe of the level before hardly exceeds, in bits."""
    level = float(np.median(before))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(before - level)))
    return max(level, 0.0) + max(RESOLUTION, ONE_SIDED_95 * error, ONE_SIDED_95 * spread)


def _crossings(rises: Fit, margin: float) -> NDArray[np.int64]:
    """The first probe at which each candidate is above the margin [C]; the end of its climb where it never is."""
    height = rises.length * margin / np.maximum(rises.rise[0], margin)
    return rises.first - 1 + np.maximum(np.ceil(height - 1e-9).astype(np.int64), 1)


def _last_relapse(y_M: Floats, rises: Fit, null: float, error: float) -> int:
    """The last probe that is below the null, and by more than noise below the best rise; -1 for none."""
    best = int(rises.rising[0].argmin())
    before = float(np.median(y_M[: rises.first[best]]))
    rising_M = before + rises.rise[0, best] * shape(rises.first[[best]], rises.length[[best]], len(y_M))[:, 0]
    steps = _MAD_TO_SIGMA * float(np.median(np.abs(np.diff(y_M))))
    noise = max(error, steps / math.sqrt(2 * (1 - rises.correlation[0, best])))
    smooth_M = running_median(y_M)
    below = np.flatnonzero((rising_M > null) & (smooth_M <= null) & (smooth_M <= rising_M - _RELAPSED * noise))
    return int(below[-1]) if len(below) else -1


def _threshold(coverage: float, probes: int) -> float:
    """How much worse than the best a place may be, in -2 log likelihood (Siegmund 1988, for a small change)."""
    return -2 * math.log1p(-math.sqrt(coverage)) * _SLACK * probes / (probes - 5)


def _probes(low: int, high: int, size: int, n: int) -> tuple[int, int]:
    """The probes of a range of blocks, with those of the block before it that may be raised already."""
    return max(0, (low - 1) * size + 1), min(n, (high + 1) * size) - 1


def _refined(x_N: Floats, block: int, size: int) -> int:
    """The probe at which a block's neighbourhood splits best into two levels."""
    if size == 1:
        return block
    start, stop = max(0, (block - 2) * size), min(len(x_N), (block + 2) * size)
    window = x_N[start:stop] - x_N[start:stop].mean()
    k = np.arange(1, len(window))
    gain = -window.cumsum()[:-1] / np.sqrt(k * (len(window) - k))
    inside = slice(size - 1, -size)
    return start + int(k[inside][gain[inside].argmax()])
