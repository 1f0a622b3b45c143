"""Figures drawn from records."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fusionscope.records import ATOMS, Journey, Record
from fusionscope.records.heatmap import TITLES, draw_grid
from fusionscope.records.tensorboard import Z_95

# Okabe and Ito's colours: told apart with any kind of colour vision, and in grey by their markers.
COLOURS = {
    "redundancy": "#E69F00",
    "unique_vision": "#56B4E9",
    "unique_language": "#009E73",
    "synergy": "#D55E00",
}
MARKERS = {"redundancy": "s", "unique_vision": "^", "unique_language": "v", "synergy": "o"}
Series = tuple[str, str, str, str]


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and SVG beside each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".png"), dpi=150)
    figure.savefig(path.with_suffix(".svg"))


def by_series(records: Sequence[Record]) -> dict[Series, list[Record]]:
    """Records by their series, in order of steps and layers."""
    groups: dict[Series, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r.step, r.layer)):
        groups.setdefault(record.series, []).append(record)
    return groups


def time_figure(records: Sequence[Record], journey: Journey | None = None) -> Figure:
    """The last layer's atoms over optimizer steps, one panel a series; stages as bands, 95 % intervals as bands."""
    groups = by_series([record for record in records if record.layer == record.n_layers])
    figure = Figure(figsize=(11, 2.3 * len(groups) + 0.7), layout="constrained")
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (series, own) in zip(panels, groups.items(), strict=True):
        _stage_bands(axes, journey, label=axes is panels[0])
        for atom in ATOMS:
            _curve(axes, own, atom)
        _accuracy(axes, own, label=axes is panels[0])
        task, design, weights, estimator = series
        axes.set_title(f"{task}  ({design}, {weights} pairs, {estimator})", loc="left", fontsize=10)
        axes.set_ylabel("bits")
        axes.grid(alpha=0.25)
    panels[-1].set_xlabel("optimizer steps, all stages")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False)
    return figure


def depth_figure(records: Sequence[Record]) -> Figure:
    """Layer-by-step heatmaps: a row a series, a column an atom, one colour scale."""
    groups = by_series(records)
    figure = Figure(figsize=(13, 2.2 * len(groups) + 0.8), layout="constrained")
    panels = figure.subplots(len(groups), len(ATOMS), squeeze=False, sharey=True)
    vmax = max([1e-3, *(v for record in records for v in record.atoms.values() if np.isfinite(v))])
    for row, (series, own) in zip(panels, groups.items(), strict=True):
        for axes, atom in zip(row, ATOMS, strict=True):
            mesh = draw_grid(axes, own, atom, vmax=vmax)
        row[0].set_ylabel(f"{series[0]}\n{series[2]}\nlayer", fontsize=8)
    figure.colorbar(mesh, ax=panels, label="bits", shrink=0.6)
    figure.supxlabel("optimizer step of each probe (equal widths)", fontsize=9)
    return figure


def design_figure(errors: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
    """How far each design is from the truth: a panel a task, a group of bars an atom, a bar a design.

    Args:
        errors: ``errors[task][design][atom]``, estimate minus truth in bits.
    """
    figure = Figure(figsize=(3.4 * len(errors), 3.8), layout="constrained")
    panels = figure.subplots(1, len(errors), sharey=True, squeeze=False)[0]
    shades = ("#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#999999")
    for axes, (task, designs) in zip(panels, errors.items(), strict=True):
        width = 0.8 / len(designs)
        for i, (design, values) in enumerate(designs.items()):
            places = np.arange(len(ATOMS)) + (i - (len(designs) - 1) / 2) * width
            axes.bar(places, [values[atom] for atom in ATOMS], width, label=design, color=shades[i % len(shades)])
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xticks(range(len(ATOMS)), ["R", "U1", "U2", "S"])
        axes.set_title(task, fontsize=10)
        axes.grid(axis="y", alpha=0.25)
    panels[0].set_ylabel("estimate − truth (bits)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def _curve(axes: Any, records: Sequence[Record], atom: str) -> None:
    steps = np.array([record.step for record in records])
    values = np.array([getattr(record, atom) for record in records])
    margins = Z_95 * np.array([record.standard_errors.get(atom, np.nan) for record in records])
    axes.plot(steps, values, marker=MARKERS[atom], markersize=3.5, color=COLOURS[atom], label=TITLES[atom])
    axes.fill_between(steps, values - margins, values + margins, color=COLOURS[atom], alpha=0.2, linewidth=0)


def _accuracy(axes: Any, records: Sequence[Record], *, label: bool) -> None:
    if all(np.isnan(record.accuracy) for record in records):
        return
    right = axes.twinx()
    right.plot(
        [record.step for record in records],
        [record.accuracy for record in records],
        color="0.45",
        linestyle=":",
        linewidth=1.2,
    )
    right.set_ylim(0, 1.05)
    right.set_ylabel("accuracy (dotted)", color="0.45", fontsize=8)


def _stage_bands(axes: Any, journey: Journey | None, *, label: bool) -> None:
    for i, (name, begin, end) in enumerate(_spans(journey)):
        axes.axvspan(begin, end, color="0.5", alpha=0.06 if i % 2 else 0.14, linewidth=0)
        if label:
            axes.annotate(
                name,
                ((begin + end) / 2, 1.0),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize=8,
            )


def _spans(journey: Journey | None) -> Iterator[tuple[str, int, int]]:
    for stage in journey.stages if journey else ():
        if stage.steps:
            yield stage.name, stage.step_offset, stage.step_offset + stage.steps
