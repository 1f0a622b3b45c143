"""When fusion emerges during training, and where in the depth of the model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusionscope.errors import InputError
from fusionscope.records.change_point import Change, Floats, change_point
from fusionscope.records.schema import Record

PHASES = ((0.0, 0.2), (0.2, 0.8), (0.8, 1.0))
"""Early, middle and late layers as shares of the depth, after arXiv 2606.00959."""


@dataclass(frozen=True, kw_only=True)
class Onset:
    """The first probe from which an atom stays above its null.

    Args:
        step: Optimizer steps at that probe, or None: no rise that the permutation test calls one, or none that lasts.
        low, high: Its 95 % interval, in optimizer steps of probes.
        null: The level it had to stay above, in bits.
        p_value: Of the permutation test; NaN where there are too few probes for one.
        probes: Number of probes.
    """

    step: int | None
    low: int | None
    high: int | None
    null: float
    p_value: float
    probes: int

    def __str__(self) -> str:
        if math.isnan(self.p_value):
            return f"undecided: {self.probes} probes are too few for a test"
        test = f"permutation p = {self.p_value:.3f}, {self.probes} probes"
        if self.step is None:
            return f"not reached ({test})"
        return f"step {self.step} (95 % interval {self.low} to {self.high}; {test})"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What a third of the depth adds to an atom.

    Args:
        begin, end: The phase, as shares of the depth.
        gain: The atom at its end less that at its beginning, in bits; NaN where the layers probed don't reach both.
        share: The gain as a share of the atom at the last layer; NaN for an atom that is not above 0.05 bits there
            or was not solved.
        error: Standard error of the gain, in bits, the layers taken as independent.
    """

    begin: float
    end: float
    gain: float
    share: float
    error: float


def onset(records: Sequence[Record], *, atom: str = "synergy", level: float = 0.01) -> Onset:
    """When an atom of one layer of one series emerges, over optimizer steps.

    Args:
        records: The records of one series and layer, in any order. Of several at one step (the end of one stage is the
            beginning of the next) the last counts; unsolved ones do not, nor do those of a baseline.
        atom: Which atom.
        level: Level of the permutation test.

    Raises:
        InputError: No records, or records of several series or layers.
    """
    _one({(record.series, record.layer) for record in records}, len(records), "series and layers")
    studied = [record for record in records if not record.baseline and math.isfinite(getattr(record, atom))]
    by_step = {r.step: r for r in sorted(studied, key=lambda r: (r.step, r.stage_step == 0))}
    solved = list(by_step.values())
    if not solved:
        return Onset(step=None, low=None, high=None, null=math.nan, p_value=math.nan, probes=0)
    found = change_point(*_curve(solved, atom), level=level)
    steps = [record.step for record in solved]
    return _onset(found, steps)


def depth_onset(records: Sequence[Record], *, atom: str = "synergy", level: float = 0.01) -> Onset:
    """The first layer from which an atom stays above its null, at one step of one series; ``step`` is that layer.

    Raises:
        InputError: No records, or records of several series or steps.
    """
    solved = _layers(records, atom)
    return _onset(change_point(*_curve(solved, atom), level=level), [record.layer for record in solved])


def phases(records: Sequence[Record], *, atom: str) -> tuple[Phase, ...]:
    """How an atom is made over the depth of the model: what the early, middle and late layers add to it.

    Between layers the atom is interpolated linearly.

    Args:
        records: The records of all layers of one series at one step.
        atom: Which atom.

    Raises:
        InputError: No records, or records of several series or steps.
    """
    solved = _layers(records, atom)
    depths = np.array([record.layer / record.n_layers for record in solved])
    values, errors = _curve(solved, atom)
    found = []
    for begin, end in PHASES:
        ends = np.interp([begin, end], depths, values, left=math.nan, right=math.nan)
        gain = float(ends[1] - ends[0])
        error = math.hypot(float(np.interp(end, depths, errors)), float(np.interp(begin, depths, errors)))
        share = gain / values[-1] if depths[-1] == 1 and values[-1] > 0.05 else math.nan
        found.append(Phase(begin=begin, end=end, gain=gain, share=share, error=error))
    return tuple(found)


def _layers(records: Sequence[Record], atom: str) -> list[Record]:
    _one({(record.series, record.step, record.stage) for record in records}, len(records), "series and steps")
    solved = [r for r in sorted(records, key=lambda r: r.layer) if math.isfinite(getattr(r, atom))]
    _one({record.series for record in solved}, len(solved), "solved series")
    return solved


def _one(kinds: set[object], n: int, what: str) -> None:
    if len(kinds) != 1:
        raise InputError(
            f"{n} records of {len(kinds)} {what}",
            "an onset belongs to one curve",
            "select the records of one series, and of one layer (over steps) or one step (over layers)",
        )


def _curve(records: Sequence[Record], atom: str) -> tuple[Floats, Floats]:
    values = np.array([getattr(record, atom) for record in records], dtype=np.float64)
    return values, np.array([record.standard_errors.get(atom, 0.0) for record in records], dtype=np.float64)


def _onset(found: Change, places: Sequence[int]) -> Onset:
    def at(index: int | None) -> int | None:
        return None if index is None else places[index]

    return Onset(
        step=at(found.index),
        low=at(found.low),
        high=at(found.high),
        null=found.null,
        p_value=found.p_value,
        probes=len(places),
    )
