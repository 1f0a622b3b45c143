"""Tables of a run: rows of texts, the header first; printed, shown in TensorBoard or put into a page."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from fusionscope.records.attempts import AttemptHistory
from fusionscope.records.onset import Onset, Phase, phases
from fusionscope.records.schema import ATOMS, Record, Series
from fusionscope.records.series import SHORT, at_end, by_series, last_layer, title
from fusionscope.records.simultaneous import FirstLayer, first_layer, onsets

Rows = Sequence[tuple[str, ...]]
"""The header first."""
_NOTHING = 5e-4
"""Bits that round to nothing in a table."""


def stage_ends(records: Sequence[Record]) -> Rows:
    """The last layer's atoms at the end of each stage, in bits, with standard errors."""
    rows: list[tuple[str, ...]] = [
        ("task", "variant", "stage", "step", *(f"{SHORT[atom]} (bits)" for atom in ATOMS), "accuracy", "n"),
    ]
    for series, points in by_series(last_layer(records)).items():
        for record in {point.stage: point for point in points}.values():
            place = (*series, record.stage, str(record.step))
            atoms = [with_error(record, atom) for atom in ATOMS]
            rows.append((*place, *atoms, fraction(record.accuracy), str(record.n)))
    return rows


def attempts(history: Sequence[AttemptHistory]) -> Rows:
    """The attempts at a run: where each began, what it recorded and how much of that a later one has retired."""
    rows: list[tuple[str, ...]] = [("attempt", "started", "begins", "steps", "records", "retired")]
    for past in history:
        attempt = past.attempt
        begins = "anew" if attempt.parent is None else f"from attempt {attempt.parent}, step {attempt.from_step}"
        steps = "" if past.first_step is None else f"{past.first_step} to {past.last_step}"
        rows.append((str(attempt.attempt), attempt.started, begins, steps, str(past.records), str(past.retired)))
    return rows


def synergy_onsets(records: Sequence[Record]) -> dict[Series, Onset]:
    """The onset of synergy in the last layer of each series, together with all other claims of a page."""
    return {series: emerged for (series, _), emerged in onsets(last_layer(records)).items()}


def layer_onsets(records: Sequence[Record]) -> Rows:
    """The onset of synergy per series and layer, together with all other claims of a page."""
    layers = sorted({record.layer for record in records})
    groups = by_series(records)
    emerged = onsets(records)
    rows: list[tuple[str, ...]] = [("task", *(f"layer {layer}" for layer in layers))]
    for series in groups:
        cells = [_short_onset(emerged[series, layer]) if (series, layer) in emerged else "" for layer in layers]
        rows.append((title(series, list(groups)), *cells))
    return rows


def depth_phases(records: Sequence[Record]) -> Rows:
    """What the early, middle and late layers add to each atom at the end of the run, with standard errors."""
    rows: list[tuple[str, ...]] = [
        ("task", "atom", "at the end", "0 to 20 %", "20 to 80 %", "80 to 100 %", "first layer above 0.05 bits"),
    ]
    groups = by_series(records)
    ends = at_end(records)
    claims = len(ATOMS) * sum(len(layers) for layers in ends.values())
    for series, layers in ends.items():
        if len(layers) < 3 or layers[-1].layer != layers[-1].n_layers:
            continue
        for atom in ATOMS:
            if not getattr(layers[-1], atom) > 0.05:
                continue
            parts = [_short_phase(phase) for phase in phases(layers, atom=atom, history=groups[series])]
            first = _short_first(first_layer(layers, atom, claims=claims))
            rows.append((title(series, list(groups)), SHORT[atom], with_error(layers[-1], atom), *parts, first))
    return rows


def diagnostics(records: Sequence[Record]) -> Rows:
    """The worst of each diagnostic over a series' last layer, and how many estimates did not converge."""
    rows: list[tuple[str, ...]] = [
        (
            "task",
            "probes",
            "least option mass",
            "largest fallback rate",
            "largest mismatch",
            "largest residual (bits)",
            "not converged",
        ),
    ]
    groups = by_series(records)
    for series, points in groups.items():
        last = last_layer(points)
        unsolved = sum(not point.converged for point in points)
        rows.append(
            (
                title(series, list(groups)),
                str(len(last)),
                _worst(last, "option_mass", min),
                _worst(last, "fallback_rate", max),
                _worst(last, "marginal_mismatch", max),
                _worst(last, "sum_rule_residual", max),
                f"{unsolved} of {len(points)}",
            )
        )
    return rows


def task_sources(records: Sequence[Record]) -> Rows:
    """Of each task its licence, what was left out of its source and how to cite it."""
    latest = {record.task: record for record in sorted(records, key=lambda record: record.step)}
    rows: list[tuple[str, ...]] = [("task", "licence", "left out", "cite")]
    for task, record in latest.items():
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in record.dropped.items() if count)
        rows.append((task, record.licence or "not stated", dropped or "nothing", record.citation or "not stated"))
    return rows


def with_error(record: Record, atom: str) -> str:
    """An atom with its standard error, where there is one; with the interval of what is identified, where it is one.

    Args:
        record: The record.
        atom: Which atom.
    """
    if atom in record.identified:
        return identified_text(record, atom)
    value, error = getattr(record, atom), record.standard_errors.get(atom, math.nan)
    text = "unsolved" if math.isnan(value) else f"{value:.3f}".replace("-0.000", "0.000")
    return text if math.isnan(error) else f"{text} ± {error:.3f}"


def identified_text(record: Record, atom: str) -> str:
    """What the data identify of an atom: ``0.012 to 0.340``, or with one end alone where the other says nothing.

    An atom is never below 0 nor, but for the sampling error, above the total information: an interval that begins at 0
    is an upper bound, one that ends at the total a lower bound. The estimate stands before it where it is one.

    Args:
        record: A record with identified intervals.
        atom: Which atom.
    """
    low, high = record.identified[atom]
    value = getattr(record, atom)
    if math.isnan(low) or math.isnan(high):
        return "not identified"
    if math.isfinite(value):
        text = f"{value:.3f}".replace("-0.000", "0.000")
        return f"{text} [{max(low, 0.0):.3f}, {high:.3f}]"
    ceiling = math.inf if atom == "total" else record.identified.get("total", (math.nan, math.inf))[1]
    if low < _NOTHING and high >= ceiling - _NOTHING:
        return "not identified"
    if low < _NOTHING:
        return f"≤ {high:.3f}"
    return f"≥ {low:.3f}" if high >= ceiling - _NOTHING else f"{low:.3f} to {high:.3f}"


def fraction(value: float) -> str:
    """A fraction with three digits, nothing for NaN."""
    return "" if math.isnan(value) else f"{value:.3f}"


def as_text(rows: Rows) -> list[str]:
    """Lines with aligned columns.

    >>> as_text([("task", "S"), ("pope", "0.5")])
    ['task  S', 'pope  0.5']
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def as_markdown(rows: Rows) -> str:
    """A Markdown table.

    >>> print(as_markdown([("task", "S"), ("pope", "0.5")]))
    | task | S |
    | --- | --- |
    | pope | 0.5 |
    """
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines)


def _short_onset(emerged: Onset) -> str:
    if math.isnan(emerged.p_value):
        return "too few probes"
    return "none" if emerged.step is None else f"{emerged.step} [{emerged.low}, {emerged.high}]"


def _short_phase(phase: Phase) -> str:
    if math.isnan(phase.gain):
        return "not probed"
    bound = f" ± {'' if math.isfinite(phase.correlation) else '≤ '}{phase.error:.3f}" if phase.error > 0 else ""
    return f"{phase.gain:+.3f}{bound} ({phase.share:.0%})"


def _short_first(first: FirstLayer) -> str:
    return "not certain" if first.layer is None else f"{first.layer} [{first.low}, {first.high}]"


def _worst(records: Sequence[Record], name: str, pick: Callable[[Iterable[float]], float]) -> str:
    values = [abs(value) for record in records if (value := _known(record.diagnostics, name)) is not None]
    return f"{pick(values):.3g}" if values else ""


def _known(diagnostics: Mapping[str, float], name: str) -> float | None:
    value = diagnostics.get(name, math.nan)
    return None if math.isnan(value) else value
