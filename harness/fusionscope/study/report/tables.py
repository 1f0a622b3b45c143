"""Tables of a run: rows of texts, printed or put into a page."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

from fusionscope.records import ATOMS, Record
from fusionscope.records.onset import Onset, depth_onset, onset, phases
from fusionscope.records.schema import Series
from fusionscope.records.series import SHORT, at_end, by_series, last_layer, title

Rows = list[tuple[str, ...]]


def stage_ends(records: Sequence[Record]) -> Rows:
    """The last layer's atoms at the end of each stage, in bits, with standard errors; the header first."""
    groups = by_series(last_layer(records))
    rows: Rows = [("task", "variant", "stage", "step", *(f"{SHORT[a]} (bits)" for a in ATOMS), "accuracy", "n")]
    for series, own in groups.items():
        for record in {r.stage: r for r in own}.values():
            atoms = [with_error(record, atom) for atom in ATOMS]
            place = (*series, record.stage, str(record.step))
            rows.append((*place, *atoms, _share(record.accuracy), str(record.n)))
    return rows


def synergy_onsets(records: Sequence[Record]) -> dict[Series, Onset]:
    """The onset of synergy in the last layer of each series."""
    return {series: onset(own) for series, own in by_series(last_layer(records)).items()}


def layer_onsets(records: Sequence[Record]) -> Rows:
    """The onset of synergy per series and layer; the header first."""
    layers = sorted({record.layer for record in records})
    rows: Rows = [("task", *(f"layer {layer}" for layer in layers))]
    groups = by_series(records)
    for series, own in groups.items():
        cells = []
        for layer in layers:
            found = onset([r for r in own if r.layer == layer]) if any(r.layer == layer for r in own) else None
            cells.append("" if found is None else _short_onset(found))
        rows.append((title(series, list(groups)), *cells))
    return rows


def depth_phases(records: Sequence[Record]) -> Rows:
    """What the early, middle and late layers add to each atom at the end of the run; the header first."""
    rows: Rows = [("task", "atom", "at the end", "0 to 20 %", "20 to 80 %", "80 to 100 %", "first layer above null")]
    groups = at_end(records)
    for series, layers in groups.items():
        if len(layers) < 3 or layers[-1].layer != layers[-1].n_layers:
            continue
        for atom in ATOMS:
            value = getattr(layers[-1], atom)
            if not value > 0.05:
                continue
            parts = [
                "not probed" if math.isnan(phase.gain) else f"{phase.gain:+.3f} ({phase.share:.0%})"
                for phase in phases(layers, atom=atom)
            ]
            first = _short_onset(depth_onset(layers, atom=atom))
            rows.append((title(series, list(groups)), SHORT[atom], with_error(layers[-1], atom), *parts, first))
    return rows


def diagnostics(records: Sequence[Record]) -> Rows:
    """The worst of each diagnostic over a series' last layer, and how many estimates did not converge."""
    rows: Rows = [
        ("task", "probes", "least option mass", "largest fallback rate", "largest mismatch", "largest residual (bits)",
         "not converged"),
    ]  # fmt: skip
    groups = by_series(records)
    for series, own in groups.items():
        last = last_layer(own)
        worst = [_worst(last, "option_mass", min), _worst(last, "fallback_rate", max)]
        worst += [_worst(last, "marginal_mismatch", max), _worst(last, "sum_rule_residual", max)]
        unsolved = sum(not record.converged for record in own)
        rows.append((title(series, list(groups)), str(len(last)), *worst, f"{unsolved} of {len(own)}"))
    return rows


def with_error(record: Record, atom: str) -> str:
    """An atom with its standard error, where there is one.

    Args:
        record: The record.
        atom: Which atom.
    """
    value, error = getattr(record, atom), record.standard_errors.get(atom, math.nan)
    text = "unsolved" if math.isnan(value) else f"{value:.3f}".replace("-0.000", "0.000")
    return text if math.isnan(error) else f"{text} ± {error:.3f}"


def as_text(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns.

    >>> as_text([("task", "S"), ("pope", "0.5")])
    ['task  S', 'pope  0.5']
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def as_html(rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table that scrolls by itself where it is too wide for the screen."""
    head, *body = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    head = head.replace("td>", "th>")
    about = f"<caption>{escape(caption)}</caption>" if caption else ""
    lines = "".join(f"<tr>{row}</tr>" for row in body)
    return f'<div class="scroll"><table>{about}<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(as_markdown([("task", "S"), ("pope", "0.5")]))
    | task | S |
    | --- | --- |
    | pope | 0.5 |
    """
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines)


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _short_onset(found: Onset) -> str:
    if math.isnan(found.p_value):
        return "too few probes"
    return "none" if found.step is None else f"{found.step} [{found.low}, {found.high}]"


def _worst(records: Sequence[Record], name: str, pick: Callable[[Iterable[float]], float]) -> str:
    values = [abs(v) for r in records if (v := _number(r.diagnostics, name)) is not None]
    return f"{pick(values):.3g}" if values else ""


def _number(diagnostics: Mapping[str, float], name: str) -> float | None:
    value = diagnostics.get(name, math.nan)
    return None if math.isnan(value) else value
