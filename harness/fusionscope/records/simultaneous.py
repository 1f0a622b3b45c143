"""What a page of many cells and curves may claim: all of it holds together at 95 %.

A page makes three kinds of claims: onsets of curves with their intervals, marks on heatmaps, first layers. Their levels
add up to 5 %, and inside each kind Bonferroni's inequality holds, in Holm's form for tests: no assumption about how
layers, steps or atoms depend on each other.

Reference:
    Holm 1979, "A simple sequentially rejective multiple test procedure".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fusionscope.errors import InputError
from fusionscope.records.change_point import RESOLUTION
from fusionscope.records.onset import Onset, onset
from fusionscope.records.schema import ATOMS, Record, Series
from fusionscope.records.series import by_series

TESTS, INTERVALS, MARKS, FIRST_LAYERS = 0.025, 0.01, 0.01, 0.005
"""How the 5 % are spent: onsets that are none, intervals of onsets, marks, first layers."""
_NORMAL_FROM = 10_000.0
"""Degrees of freedom from which Student's quantile is the normal one to three digits."""


@dataclass(frozen=True, kw_only=True)
class FirstLayer:
    """The first layer from which an atom stays above `fusionscope.records.change_point.RESOLUTION` up to the last one.

    Args:
        layer: By the estimates, or None: it is not certain that the last layer is above, or there are no standard
            errors.
        low, high: The first layers that the intervals of all layers together allow; None with ``layer``.
    """

    layer: int | None
    low: int | None
    high: int | None


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Which of many tests are significant, with at most ``level`` for one that should not be.

    Args:
        p_values: One a test; NaN where there was none, which is not significant.
        level: For all of them together.

    >>> holm([0.001, 0.04, 0.02, math.nan], 0.05)
    [True, True, True, False]
    """
    decided = [False] * len(p_values)
    tested = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    for rank, i in enumerate(sorted(tested, key=lambda i: p_values[i])):
        if p_values[i] > level / (len(tested) - rank):
            break
        decided[i] = True
    return decided


def onsets(records: Sequence[Record], *, atom: str = "synergy") -> dict[tuple[Series, int], Onset]:
    """The onset of an atom on every series and layer, all of them and their intervals together.

    Half of the level is for the last layers, which are the models' own answers, half for all others.

    Args:
        records: All records of a run.
        atom: Which atom.

    Returns:
        By series and layer.
    """
    curves: dict[tuple[Series, int], list[Record]] = {}
    for series, points in by_series(records).items():
        for point in points:
            curves.setdefault((series, point.layer), []).append(point)
    last = {key for key, points in curves.items() if key[1] == points[0].n_layers}
    together: dict[tuple[Series, int], Onset] = {}
    for family in (last, curves.keys() - last):
        coverage = 1 - INTERVALS / 2 / max(1, len(family))
        seen = {key: onset(curves[key], atom=atom, level=1.0, coverage=coverage) for key in family}
        stands = holm([emerged.p_value for emerged in seen.values()], TESTS / 2)
        together |= {key: seen[key] if fine else seen[key].denied() for key, fine in zip(seen, stands, strict=True)}
    return {key: together[key] for key in curves}


def marks(records: Sequence[Record], atom: str, *, claims: int | None = None) -> NDArray[np.bool_]:
    """Whether an atom is above zero, for all records together: bool, one a record, False without a standard error.

    Args:
        records: The cells of a map.
        atom: Which atom.
        claims: Cells of all maps that are looked at together; by default those of one map of each atom.
    """
    among = len(records) * len(ATOMS) if claims is None else claims
    return np.array([interval(record, atom, level=MARKS / among)[0] > 0 for record in records], dtype=bool)


def first_layer(records: Sequence[Record], atom: str, *, claims: int | None = None) -> FirstLayer:
    """From which layer on an atom is there, at one step of one series.

    Args:
        records: The records of all layers of one series at one step.
        atom: Which atom.
        claims: Layers, of all series and atoms, that are looked at together; by default these.

    Raises:
        InputError: Records of several series or steps.
    """
    places = {(record.series, record.step, record.stage) for record in records}
    if len(places) != 1:
        raise InputError(
            f"{len(records)} records of {len(places)} series and steps",
            "a first layer is that of one model at one step",
            "select the records of one series and step",
        )
    layers = sorted(records, key=lambda record: record.layer)
    ends = [interval(record, atom, level=FIRST_LAYERS / (claims or len(layers))) for record in layers]
    lows, highs = np.array(ends).T
    if not lows[-1] > RESOLUTION:
        return FirstLayer(layer=None, low=None, high=None)
    values = np.array([getattr(record, atom) for record in layers])
    first, low, high = (layers[_begin_of_end(curve > RESOLUTION)].layer for curve in (values, highs, lows))
    return FirstLayer(layer=first, low=low, high=high)


def _begin_of_end(above: NDArray[np.bool_]) -> int:
    """Where the last unbroken row of True begins."""
    below = np.flatnonzero(~above)
    return int(below[-1]) + 1 if len(below) else 0


def interval(record: Record, atom: str, *, level: float) -> tuple[float, float]:
    """An atom's interval that misses with probability ``level``, in bits; NaN without a standard error.

    The 95 % interval of the record with both its sides longer by the ratio of Student's quantiles.
    """
    value, (low, high) = getattr(record, atom), record.interval(atom)
    grids = record.diagnostics.get("degrees_of_freedom", math.inf)
    degrees = record.diagnostics.get(f"degrees_of_freedom_{atom}", grids)  # of pairs, each atom has its own
    longer = student_quantile(1 - level / 2, degrees) / student_quantile(0.975, degrees)
    return value - longer * (value - low), value + longer * (high - value)


@lru_cache(maxsize=4096)
def student_quantile(probability: float, degrees: float) -> float:
    """A quantile above the median of Student's t, by bisection of its tail.

    Args:
        probability: From 0.5 to 1.
        degrees: Degrees of freedom.

    >>> round(student_quantile(0.975, 5.0), 3), round(student_quantile(0.9999, 3.0), 2)
    (2.571, 22.2)
    """
    if degrees >= _NORMAL_FROM:
        return NormalDist().inv_cdf(probability)
    low, high = 0.0, 1.0
    while _student_tail(high, degrees) > 1 - probability:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_tail(middle, degrees) > 1 - probability else (low, middle)
    return (low + high) / 2


def _student_tail(t: float, degrees: float) -> float:
    """P(T > t): the density integrated over the angle whose tangent is t / sqrt(degrees)."""
    nodes, weights = _legendre()
    begin = math.atan(t / math.sqrt(degrees))
    end = min(math.pi / 2, begin + 40 / math.sqrt(degrees))
    angles = begin + (end - begin) * (nodes + 1) / 2
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(math.pi) / 2
    density = np.exp(log_scale + (degrees - 1) * np.log(np.cos(angles)))
    return float((end - begin) / 2 * (weights * density).sum())


@lru_cache(maxsize=1)
def _legendre() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(200)
    return nodes, weights
