"""Figures of a run: atoms over time and over depth, diagnostics, designs against the truth."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fusionscope.records import ATOMS, Record, Run
from fusionscope.records.heatmap import TITLES, draw_grid
from fusionscope.records.onset import PHASES, Onset
from fusionscope.records.series import SHORT, by_series, last_layer, title
from fusionscope.records.tables import synergy_onsets
from fusionscope.study.page import BAND, CARD, COLOURS, EXTRA, INK, MARKERS, MUTED, shape, style

# What a panel shows at the least: rounding errors should not look like results.
_SPANS = {
    "option_mass": (-0.03, 1.03),
    "fallback_rate": (-0.03, 1.03),
    "marginal_mismatch": (-0.002, 0.05),
    "sum_rule_residual": (-1e-6, 1e-6),
}


def time_figure(records: Sequence[Record], run: Run | None = None) -> Figure:
    """A row a series: the last layer's atoms stacked with the accuracy, and each with its 95 % interval."""
    groups = by_series(last_layer(records))
    onsets = synergy_onsets(records)
    with style():
        figure = Figure(figsize=(11, 2.5 * len(groups) + 0.6), layout="constrained")
        rows = figure.subplots(len(groups), 2, sharex=True, squeeze=False)
        for (left, right), (series, points) in zip(rows, groups.items(), strict=True):
            draw_stack(left, points, run)
            draw_curves(right, points, run, emerged=onsets[series])
            left.set_title(title(series, list(groups)), loc="left", pad=14)
        for axes in rows[-1]:
            axes.set_xlabel("optimizer steps, all stages")
        figure.legend(*rows[0][1].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return figure


def time_card(points: Sequence[Record], run: Run | None = None, *, emerged: Onset) -> Figure:
    """One series over time: stacked atoms and accuracy above, atoms with intervals and the onset of synergy below.

    Args:
        points: Records of the last layer.
        run: The run, where it has stages.
        emerged: The onset of synergy, together with those of the other series.
    """
    with style():
        figure = Figure(figsize=(CARD, 4.0), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        draw_stack(upper, points, run)
        draw_curves(lower, points, run, emerged=emerged, label_stages=False)
        lower.set_xlabel("optimizer steps, all stages")
    return figure


def draw_stack(axes: Any, points: Sequence[Record], run: Run | None) -> None:
    """Atoms stacked up to the total, negative ones below zero, their letters inside; accuracy dotted on the right."""
    solved = [record for record in points if np.isfinite(list(record.atoms.values())).all()]
    steps = np.array([record.step for record in solved])
    atoms = np.array([[record.atoms[atom] for record in solved] for atom in ATOMS]).reshape(len(ATOMS), -1)
    _stage_bands(axes, run)
    colours = [COLOURS[atom] for atom in ATOMS]
    if not solved and any(record.identified for record in points):
        said = "intervals alone are identified"
        axes.text(0.5, 0.5, said, transform=axes.transAxes, ha="center", va="center", color=MUTED)
    axes.stackplot(steps, np.maximum(atoms, 0), colors=colours, alpha=0.85, linewidth=0)
    axes.stackplot(steps, np.minimum(atoms, 0), colors=colours, alpha=0.85, linewidth=0)
    axes.plot(steps, [record.total for record in solved], color=INK, linewidth=0.9)
    _letters(axes, steps, np.maximum(atoms, 0))
    axes.set_ylabel("bits, stacked")
    axes.set_ylim(top=max(0.1, 1.06 * np.maximum(atoms, 0).sum(0).max(initial=0)))
    axes.margins(x=0.01)
    _accuracy(axes, points)


def draw_curves(
    axes: Any, points: Sequence[Record], run: Run | None, *, emerged: Onset, label_stages: bool = True
) -> None:
    """Each atom with its 95 % interval, and where synergy emerges."""
    _stage_bands(axes, run, label=label_stages)
    for atom in ATOMS:
        _curve(axes, [record.step for record in points], points, atom)
    _onset_mark(axes, emerged, lift=12 if label_stages and run else 2)
    axes.set_ylabel("bits")
    axes.margins(x=0.01)
    axes.grid(axis="y")


def depth_figure(records: Sequence[Record]) -> Figure:
    """Layer-by-step heatmaps: a row a series, a column an atom, one colour scale; all dots hold together."""
    groups = by_series(records)
    with style():
        figure = Figure(figsize=(13, 2.2 * len(groups) + 0.8), layout="constrained")
        panels = figure.subplots(len(groups), len(ATOMS), squeeze=False, sharey=True)
        vmax = largest(records)
        for row, (series, points) in zip(panels, groups.items(), strict=True):
            for axes, atom in zip(row, ATOMS, strict=True):
                mesh = draw_grid(axes, points, atom, vmax=vmax, claims=len(records) * len(ATOMS))
                mesh.set_rasterized(True)
            row[0].set_ylabel(f"{series.task}\n{series.variant}\nlayer", fontsize=8)
        figure.colorbar(mesh, ax=panels, label="bits", shrink=0.6)
        figure.supxlabel("optimizer step of each probe (equal widths)", fontsize=9)
    return figure


def heatmap_card(points: Sequence[Record], *, vmax: float, claims: int) -> Figure:
    """One series: a layer-by-step heatmap of each atom.

    Args:
        points: Its records.
        vmax: The end of the colour scale, in bits.
        claims: Cells of all maps of the page, which hold together.
    """
    with style():
        figure = Figure(figsize=(CARD, 3.6), layout="constrained")
        panels = figure.subplots(2, 2, sharex=True, sharey=True)
        for axes, atom in zip(panels.flat, ATOMS, strict=True):
            mesh = draw_grid(axes, points, atom, vmax=vmax, claims=claims)
            mesh.set_rasterized(True)
            axes.set_title(TITLES[atom], fontsize=8.5)
            axes.xaxis.set_ticks(axes.get_xticks()[::2], [t.get_text() for t in axes.get_xticklabels()[::2]])
        figure.colorbar(mesh, ax=panels, label="bits", shrink=0.85, aspect=30)
        figure.supxlabel("optimizer step of each probe", fontsize=8)
        figure.supylabel("layer", fontsize=8)
    return figure


def layers_card(layers: Sequence[Record]) -> Figure:
    """The atoms of every layer at one step, with 95 % intervals and the phases of depth as bands."""
    with style():
        figure = Figure(figsize=(CARD, 2.6), layout="constrained")
        axes = figure.subplots()
        depth = layers[-1].n_layers
        for i, (begin, end) in enumerate(PHASES):
            if i != 1:
                axes.axvspan(begin * depth, end * depth, color=BAND, linewidth=0)
        for atom in ATOMS:
            _curve(axes, [record.layer for record in layers], layers, atom)
        axes.set_xlabel("layer (0: embeddings; bands: first and last fifth)")
        axes.set_ylabel("bits")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.02)
        axes.grid(axis="y")
    return figure


def diagnostics_figure(records: Sequence[Record]) -> Figure:
    """A panel a diagnostic, a curve a series, over optimizer steps."""
    groups = by_series(last_layer(records))
    with style():
        legend_rows = -(-len(groups) // 3)
        figure = Figure(figsize=(2 * CARD, 4.2 + 0.17 * legend_rows), layout="constrained")
        panels = figure.subplots(2, 2, sharex=True)
        for axes, name in zip(panels.flat, _SPANS, strict=True):
            for i, (series, points) in enumerate(groups.items()):
                values = [record.diagnostics.get(name, np.nan) for record in points]
                axes.plot(
                    [record.step for record in points],
                    values,
                    label=title(series, list(groups)),
                    linewidth=1.2,
                    color=EXTRA[i % len(EXTRA)],
                    marker=shape(i),
                    markersize=3,
                )
            axes.set_title(name.replace("_", " ") + (" (bits)" if name == "sum_rule_residual" else ""), loc="left")
            axes.grid(axis="y")
            axes.margins(x=0.02)
            low, high = _SPANS[name]
            axes.set_ylim(min(low, axes.get_ylim()[0]), max(high, axes.get_ylim()[1]))
            axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
        for axes in panels[-1]:
            axes.set_xlabel("optimizer steps, all stages")
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def design_figure(errors: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
    """How far each design is from the truth: a panel a task, a group of bars an atom, a bar a design.

    Args:
        errors: ``errors[task][design][atom]``, estimate minus truth in bits.
    """
    with style():
        figure = Figure(figsize=(3.4 * len(errors), 3.8), layout="constrained")
        panels = figure.subplots(1, len(errors), sharey=True, squeeze=False)[0]
        for axes, (task, designs) in zip(panels, errors.items(), strict=True):
            width = 0.8 / len(designs)
            for i, (design, values) in enumerate(designs.items()):
                places = np.arange(len(ATOMS)) + (i - (len(designs) - 1) / 2) * width
                heights = [values[atom] for atom in ATOMS]
                axes.bar(places, heights, width, label=design, color=EXTRA[i % len(EXTRA)])
            axes.axhline(0, color=INK, linewidth=0.8)
            axes.set_xticks(range(len(ATOMS)), list(SHORT.values()))
            axes.set_title(task)
            axes.grid(axis="y")
        panels[0].set_ylabel("estimate − truth (bits)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def largest(records: Sequence[Record]) -> float:
    """The colour scale's end: the largest atom of all, in bits."""
    return max([1e-3, *(v for record in records for v in record.atoms.values() if np.isfinite(v))])


def _curve(axes: Any, places: Sequence[int], records: Sequence[Record], atom: str) -> None:
    x = np.array(places)
    values = np.array([getattr(record, atom) for record in records])
    lower, upper = np.array([record.interval(atom) for record in records]).T
    axes.plot(x, values, marker=MARKERS[atom], markersize=3.2, color=COLOURS[atom], label=TITLES[atom])
    axes.fill_between(x, lower, upper, color=COLOURS[atom], alpha=0.25, linewidth=0)
    interval_alone = np.isnan(values) & np.isfinite(lower) & np.isfinite(upper)
    if interval_alone.any():
        # Bars of the atoms stand side by side: at one place they would hide each other.
        apart = (ATOMS.index(atom) - 1.5) * 0.008 * max(float(np.ptp(x)), 1.0)
        where = x[interval_alone] + apart
        axes.vlines(where, lower[interval_alone], upper[interval_alone], color=COLOURS[atom], linewidth=2.2)


def _letters(axes: Any, steps: Any, heights: Any) -> None:
    """Each atom's letter inside its area, at its roomiest place, where there is room for it."""
    if len(steps) < 2 or steps[-1] == steps[0]:
        return
    grid = np.linspace(steps[0], steps[-1], 101)
    areas = np.array([np.interp(grid, steps, row) for row in heights])
    tops, ceiling = areas.cumsum(0), max(0.1, areas.sum(0).max())
    for row, atom in enumerate(ATOMS):
        # As wide as a letter: 3 % of the axis to either side, none of it at the edge.
        room = np.array([areas[row, max(0, i - 3) : i + 4].min() for i in range(101)])
        room[:4] = room[-4:] = 0
        roomy = np.flatnonzero(room >= 0.98 * room.max())
        at = int(roomy[len(roomy) // 2])
        if room[at] > 0.12 * ceiling:
            middle = tops[row, at] - areas[row, at] / 2
            axes.text(grid[at], middle, SHORT[atom], ha="center", va="center", color="black", weight="bold")


def _accuracy(axes: Any, points: Sequence[Record]) -> None:
    if all(np.isnan(record.accuracy) for record in points):
        return
    right = axes.twinx()
    right.plot([r.step for r in points], [r.accuracy for r in points], color=INK, linestyle=":", linewidth=1.3)
    right.set_ylim(0, 1.06)
    right.set_ylabel("accuracy (dotted)", color=MUTED)
    right.spines["right"].set_visible(True)


def _onset_mark(axes: Any, emerged: Onset, *, lift: int) -> None:
    """The onset and its interval; its label ``lift`` points above the panel, where no curve runs."""
    if emerged.step is None:
        return
    axes.axvspan(emerged.low, emerged.high, color=COLOURS["synergy"], alpha=0.18, linewidth=0)
    axes.axvline(emerged.step, color=COLOURS["synergy"], linewidth=1, linestyle="--")
    axes.annotate(
        f"onset of S: {emerged.step}",
        (emerged.step, 1),
        (0, lift),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=7.5,
        color=COLOURS["synergy"],
    )


def _stage_bands(axes: Any, run: Run | None, *, label: bool = True) -> None:
    spans = list(_stage_spans(run))
    for i, (name, begin, end) in enumerate(spans):
        if i % 2 == 0:
            axes.axvspan(begin, end, color=BAND, linewidth=0, zorder=-2)
        wide_enough = (end - begin) / max(1, spans[-1][2] - spans[0][1]) > 0.018 * len(name)
        if label and wide_enough:
            axes.annotate(
                name,
                ((begin + end) / 2, 1),
                (0, 2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=7.5,
                color=MUTED,
            )


def _stage_spans(run: Run | None) -> Iterator[tuple[str, int, int]]:
    for stage in run.stages if run else ():
        if stage.steps:
            yield stage.name, stage.step_offset, stage.step_offset + stage.steps
