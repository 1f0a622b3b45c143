"""When fusion emerges during training, and where in the depth of the model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fusionscope.errors import InputError
from fusionscope.records.change_point import Change, change_point
from fusionscope.records.ramps import MIN_PROBES, Floats
from fusionscope.records.schema import Record

PHASES = ((0.0, 0.2), (0.2, 0.8), (0.8, 1.0))
"""Early, middle and late layers as fractions of the depth, after arXiv 2606.00959."""
_FEWEST_STEPS = 10
"""From which the correlation of two layers' noise is estimated."""


@dataclass(frozen=True, kw_only=True)
class Onset:
    """The first probe from which an atom stays above its null.

    Args:
        step: Optimizer steps at that probe, or None: no rise that stands out of the noise, or none that lasts.
        low, high: Its interval, in optimizer steps of probes.
        null: The level it had to stay above, in bits.
        p_value: Of the test of this curve by itself; NaN where there are too few probes for one.
        probes: Number of probes.
    """

    step: int | None
    low: int | None
    high: int | None
    null: float
    p_value: float
    probes: int

    def denied(self) -> "Onset":
        """The same without a step: the curve is one of many, and not significant among them."""
        return replace(self, step=None, low=None, high=None)

    def __str__(self) -> str:
        if math.isnan(self.p_value):
            return f"undecided: {self.probes} probes are too few for a test, which takes {MIN_PROBES}"
        p = "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"
        if self.step is None:
            return f"none found ({p}, {self.probes} probes)"
        return f"step {self.step} (95 % interval {self.low} to {self.high}; {p}, {self.probes} probes)"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What a part of the depth adds to an atom.

    Args:
        begin, end: The phase, as fractions of the depth.
        gain: The atom at its end less that at its beginning, in bits; NaN where the layers probed don't reach both.
        share: The gain as a fraction of the atom at the last layer; NaN for an atom that is not above 0.05 bits there
            or was not solved.
        error: Standard error of the gain, in bits.
        correlation: Of the errors at both ends, as the probes of the run show it; NaN where they are too few: the
            error is then that of independent layers, which is too large where their errors go together.
    """

    begin: float
    end: float
    gain: float
    share: float
    error: float
    correlation: float


def onset(records: Sequence[Record], *, atom: str = "synergy", level: float = 0.01, coverage: float = 0.95) -> Onset:
    """When an atom of one layer of one series emerges, over optimizer steps.

    Args:
        records: The records of one series and layer, in any order. Of several at one step (the end of one stage is the
            beginning of the next) the last counts; unsolved ones do not, nor do those of a baseline.
        atom: Which atom.
        level: Level of the test of this curve by itself (`fusionscope.records.simultaneous.onsets` tests many).
        coverage: Of the interval.

    Raises:
        InputError: No records, or records of several series or layers.
    """
    _check_single({(record.series, record.layer) for record in records}, len(records), "series and layers")
    solved = _by_step(records, atom)
    if not solved:
        return Onset(step=None, low=None, high=None, null=math.nan, p_value=math.nan, probes=0)
    change = change_point(*_curve(solved, atom), level=level, coverage=coverage)
    return _onset(change, [record.step for record in solved])


def phases(records: Sequence[Record], *, atom: str, history: Sequence[Record] = ()) -> tuple[Phase, ...]:
    """How an atom is made over the depth of the model: what the early, middle and late layers add to it.

    Between layers the atom is interpolated linearly. Layers are measured on the same images and questions, so their
    errors go together; by how much is taken from the history: the rank correlation of how far two layers' atoms are
    from the mean of the probe before and the one after, where training itself moves little.

    Args:
        records: The records of all layers of one series at one step.
        atom: Which atom.
        history: All records of the series, over all steps.

    Raises:
        InputError: No records, or records of several series or steps.
    """
    solved = _layers(records, atom)
    depths = np.array([record.layer / record.n_layers for record in solved])
    values, errors = _curve(solved, atom)
    deviations = _deviations(history, [record.layer for record in solved], atom)
    parts = []
    for begin, end in PHASES:
        begins, ends = _weights(depths, begin), _weights(depths, end)
        gain = float((ends - begins) @ values)
        correlation = _rank_correlation(deviations @ begins, deviations @ ends)
        both = float(begins @ errors), float(ends @ errors)
        shared = 0.0 if math.isnan(correlation) else correlation
        parts.append(
            Phase(
                begin=begin,
                end=end,
                gain=gain,
                share=gain / values[-1] if depths[-1] == 1 and values[-1] > 0.05 else math.nan,
                error=float(np.sqrt(np.maximum(both[0] ** 2 + both[1] ** 2 - 2 * shared * both[0] * both[1], 0.0))),
                correlation=correlation,
            )
        )
    return tuple(parts)


def _weights(depths: Floats, place: float) -> Floats:
    """By which the layers' values give the one at a depth, NaN outside of them."""
    rows = np.eye(len(depths))
    return np.array([np.interp(place, depths, row, left=math.nan, right=math.nan) for row in rows])


def _deviations(history: Sequence[Record], layers: Sequence[int], atom: str) -> Floats:
    """How far each layer's atom is from the mean of its neighbours in time, float64 [steps - 2, layers].

    Empty where fewer than 10 steps have all layers.
    """
    of_layer: dict[int, list[Record]] = {layer: [] for layer in layers}
    for record in history:
        of_layer.get(record.layer, []).append(record)
    curves = {layer: {r.step: r for r in _by_step(records, atom)} for layer, records in of_layer.items()}
    steps = sorted(set.intersection(*(set(curve) for curve in curves.values())))
    if len(steps) < _FEWEST_STEPS:
        return np.zeros((0, len(layers)))
    values = np.array([[getattr(curves[layer][step], atom) for layer in layers] for step in steps])
    deviations: Floats = values[1:-1] - (values[:-2] + values[2:]) / 2
    return deviations


def _rank_correlation(a: Floats, b: Floats) -> float:
    """Pearson's coefficient by way of ranks, which a few large moves of both do not decide; NaN where none is known."""
    if not len(a) or not np.isfinite([a, b]).all():
        return math.nan
    ranks = np.array([a, b]).argsort(-1).argsort(-1)
    rho = np.asarray(np.corrcoef(ranks))[0, 1]
    return float(2 * np.sin(np.pi / 6 * rho))


def _by_step(records: Sequence[Record], atom: str) -> list[Record]:
    """Solved records after the baseline, one a step: of two stages the later."""
    studied = [record for record in records if not record.baseline and math.isfinite(getattr(record, atom))]
    return list({r.step: r for r in sorted(studied, key=lambda r: (r.step, r.stage_step == 0))}.values())


def _layers(records: Sequence[Record], atom: str) -> list[Record]:
    _check_single({(record.series, record.step, record.stage) for record in records}, len(records), "series and steps")
    solved = [r for r in sorted(records, key=lambda r: r.layer) if math.isfinite(getattr(r, atom))]
    _check_single({record.series for record in solved}, len(solved), "solved series")
    return solved


def _check_single(kinds: set[object], n: int, what: str) -> None:
    if len(kinds) != 1:
        raise InputError(
            f"{n} records of {len(kinds)} {what}",
            "an onset belongs to one curve",
            "select the records of one series, and of one layer (over steps) or one step (over layers)",
        )


def _curve(records: Sequence[Record], atom: str) -> tuple[Floats, Floats]:
    values = np.array([getattr(record, atom) for record in records], dtype=np.float64)
    return values, np.array([record.standard_errors.get(atom, 0.0) for record in records], dtype=np.float64)


def _onset(change: Change, places: Sequence[int]) -> Onset:
    def at(index: int | None) -> int | None:
        return None if index is None else places[index]

    return Onset(
        step=at(change.index),
        low=at(change.low),
        high=at(change.high),
        null=change.null,
        p_value=change.p_value,
        probes=len(places),
    )
