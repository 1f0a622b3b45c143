"""Figures of a profile: atoms against accuracy, families, rank correlations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fusionscope.records import ATOMS
from fusionscope.records.series import SHORT
from fusionscope.study.comparison.statistics import Row, by_task, correlations
from fusionscope.study.comparison.verdicts import family_strategies
from fusionscope.study.page import CARD, COLOURS, EXTRA, INK, MUTED, shape, style

NARROWEST = 0.02
"""Bits that an axis spans at least: less than that is no difference to show."""


def breadth_figure(rows: Sequence[Row]) -> Figure:
    """A column a task: S against accuracy, U2 against accuracy."""
    groups = by_task(rows)
    with style():
        figure = Figure(figsize=(3.4 * len(groups), 6.6), layout="constrained")
        panels = figure.subplots(2, len(groups), squeeze=False)
        for column, (task, models) in zip(panels.T, groups.items(), strict=True):
            draw_scatter(column[0], models, "synergy")
            draw_scatter(column[1], models, "unique_language")
            column[0].set_title(task)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    return figure


def scatter_card(rows: Sequence[Row], atom: str) -> Figure:
    """One task: an atom against accuracy, a point a model."""
    with style():
        figure = Figure(figsize=(CARD, 3.3), layout="constrained")
        axes = figure.subplots()
        draw_scatter(axes, rows, atom)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_scatter(axes: Any, rows: Sequence[Row], atom: str) -> None:
    """Points with their 95 % intervals; sizes of a family joined from small to large."""
    for i, family in enumerate(dict.fromkeys(row.family for row in rows)):
        members = sorted((row for row in rows if row.family == family), key=lambda row: row.parameters)
        x = np.array([row.value(atom) for row in members])
        y = np.array([row.value("accuracy") for row in members])
        lower, upper = np.array([row.record.interval(atom) for row in members]).T
        colour = EXTRA[i % len(EXTRA)]
        axes.plot(x, y, label=family, color=colour, marker=shape(i), markersize=5.5, linewidth=0.8, alpha=0.9)
        axes.hlines(y, lower, upper, color=colour, linewidth=0.8, alpha=0.9)
    axes.set_xlabel(f"{SHORT[atom]} (bits)")
    axes.set_ylabel("accuracy")
    axes.margins(0.08)
    left, right = axes.get_xlim()
    room = max(0.0, NARROWEST - (right - left)) / 2
    axes.set_xlim(left - room, right + room)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(-0.03, 1.05)
    axes.grid()


def families_card(rows: Sequence[Row]) -> Figure:
    """Centroids of families: standardised U2 against standardised S."""
    with style():
        figure = Figure(figsize=(CARD, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        for i, family in enumerate(family_strategies(rows)):
            place = (family.synergy, family.language)
            axes.plot(*place, marker=shape(i), markersize=8, color=EXTRA[i % len(EXTRA)], linestyle="")
            axes.annotate(family.name, place, (6, 4), textcoords="offset points", fontsize=7.5)
        axes.margins(0.25)
        axes.text(0.99, 0.02, "fusion-centric", transform=axes.transAxes, ha="right", color=MUTED, fontsize=8)
        axes.text(0.01, 0.95, "language-centric", transform=axes.transAxes, color=MUTED, fontsize=8)
        axes.set_xlabel("S, standardised, mean over tasks")
        axes.set_ylabel("U2, standardised, mean over tasks")
    return figure


def correlations_card(rows: Sequence[Row]) -> Figure:
    """Spearman's coefficients of each measure with accuracy, per task, with bootstrap intervals."""
    defined = [c for c in correlations(rows) if c.target == "accuracy" and np.isfinite(c.rho)]
    names = list(dict.fromkeys(c.task for c in defined))
    colours = {**COLOURS, "total": INK}
    labels = {**SHORT, "total": "I"}
    with style():
        figure = Figure(figsize=(CARD, 0.9 + 0.75 * max(1, len(names))), layout="constrained")
        axes = figure.subplots()
        for c in defined:
            place = names.index(c.task) + 0.14 * ((*ATOMS, "total").index(c.measure) - 2)
            axes.plot([c.low, c.high], [place, place], color=colours[c.measure], linewidth=1.2)
            axes.plot(c.rho, place, marker="o", color=colours[c.measure], markersize=4)
            at = (1.02, place)
            axes.annotate(labels[c.measure], at, xycoords=("axes fraction", "data"), va="center", fontsize=6.5)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_xlim(-1.05, 1.05)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel("Spearman with accuracy, 95 % interval from 6 models on")
        axes.grid(axis="x")
    return figure
