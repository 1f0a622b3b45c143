"""The report of a profile: models beside each other on every task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fusionscope.records import ATOMS, Record
from fusionscope.records.series import SHORT
from fusionscope.study.comparison.breadth import Row, by_task, correlations, family_strategies, task_regimes
from fusionscope.study.comparison.profile import Profile, comparisons, rows_of, without_records
from fusionscope.study.report import page, tables
from fusionscope.study.report.figures import CARD
from fusionscope.study.report.methods import SOURCES, sentences
from fusionscope.study.report.theme import COLOURS, EXTRA, INK, MUTED, inline_svg, shape, style

NARROWEST = 0.02
"""Bits that an axis spans at least: less than that is no difference to look at."""


def breadth_figure(rows: Sequence[Row]) -> Figure:
    """A column a task: S against accuracy, U2 against accuracy."""
    groups = by_task(rows)
    with style():
        figure = Figure(figsize=(3.4 * len(groups), 6.6), layout="constrained")
        panels = figure.subplots(2, len(groups), squeeze=False)
        for column, (task, own) in zip(panels.T, groups.items(), strict=True):
            draw_scatter(column[0], own, "synergy")
            draw_scatter(column[1], own, "unique_language")
            column[0].set_title(task)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    return figure


def scatter_card(own: Sequence[Row], atom: str) -> Figure:
    """One task: an atom against accuracy, a point a model."""
    with style():
        figure = Figure(figsize=(CARD, 3.3), layout="constrained")
        axes = figure.subplots()
        draw_scatter(axes, own, atom)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_scatter(axes: Any, own: Sequence[Row], atom: str) -> None:
    """Points with their 95 % intervals; sizes of a family joined from small to large."""
    for i, family in enumerate(dict.fromkeys(row.family for row in own)):
        members = sorted((row for row in own if row.family == family), key=lambda row: row.parameters)
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
        for i, found in enumerate(family_strategies(rows)):
            axes.plot(
                found.synergy, found.language, marker=shape(i), markersize=8, color=EXTRA[i % len(EXTRA)],
                linestyle="",
            )  # fmt: skip
            axes.annotate(found.name, (found.synergy, found.language), (6, 4), textcoords="offset points", fontsize=7.5)
        axes.margins(0.25)
        axes.text(0.99, 0.02, "fusion-centric", transform=axes.transAxes, ha="right", color=MUTED, fontsize=8)
        axes.text(0.01, 0.95, "language-centric", transform=axes.transAxes, color=MUTED, fontsize=8)
        axes.set_xlabel("S, standardised, mean over tasks")
        axes.set_ylabel("U2, standardised, mean over tasks")
    return figure


def correlations_card(rows: Sequence[Row]) -> Figure:
    """Spearman's coefficients of each measure with accuracy, per task, with bootstrap intervals."""
    found = [c for c in correlations(rows) if c.target == "accuracy" and np.isfinite(c.rho)]
    names = list(dict.fromkeys(c.task for c in found))
    colours = {**COLOURS, "total": INK}
    with style():
        figure = Figure(figsize=(CARD, 0.9 + 0.75 * max(1, len(names))), layout="constrained")
        axes = figure.subplots()
        for c in found:
            place = names.index(c.task) + 0.14 * ((*ATOMS, "total").index(c.measure) - 2)
            axes.plot([c.low, c.high], [place, place], color=colours[c.measure], linewidth=1.2)
            axes.plot(c.rho, place, marker="o", color=colours[c.measure], markersize=4)
            axes.annotate(
                {**SHORT, "total": "I"}[c.measure],
                (1.02, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=6.5,
            )
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_xlim(-1.05, 1.05)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel("Spearman with accuracy, 95 % interval")
        axes.grid(axis="x")
    return figure


def profile_page(profile: Profile, records: Sequence[Record], *, name: str) -> str:
    """The page of a profile, as HTML."""
    rows = rows_of(profile, records)
    groups = by_task(rows)
    verdicts = [
        (v.verdict, f"{v.name}: Spearman with accuracy {_rho(v.synergy)} for S, {_rho(v.language)} for U2")
        for v in task_regimes(rows)
    ]
    measured, ranked, *rest = (_titled(title, table) for title, table in comparisons(rows).items())
    lacking = [page.paragraph(line) for line in without_records(profile, rows)]
    scatters = [
        page.card(
            inline_svg(scatter_card(own, atom), f"{SHORT[atom]} against accuracy, {task}", f"b{i}{SHORT[atom]}"),
            title=f"{task}: {SHORT[atom]} and accuracy",
        )
        for i, (task, own) in enumerate(groups.items())
        for atom in ("synergy", "unique_language")
    ]
    comparing = [
        page.card(
            inline_svg(correlations_card(rows), "Correlations with accuracy", "c"),
            title="What goes with accuracy",
            caption=_left_out(rows),
        ),
        page.card(inline_svg(families_card(rows), "Families", "f"), title="Families"),
    ]
    n = len({row.model for row in rows})
    lead = f"How {n} models answer {len(groups)} tasks: vision, language and fusion, in bits."
    return page.page(
        name,
        lead,
        [
            page.tiles(verdicts),
            page.section("Breadth: models and tasks", page.cards(scatters), *lacking, measured),
            page.section("What goes with accuracy", page.cards(comparing), ranked, *rest),
            page.section("Diagnostics", tables.as_html(_diagnostics(rows))),
            page.section("Methods", page.paragraph(" ".join(sentences([row.record for row in rows])))),
            page.section("Sources", page.citations(SOURCES)),
        ],
    )


def _titled(title: str, table: tables.Rows) -> str:
    """A table under its title; a rule is a paragraph of its own, as wide as the page."""
    return page.paragraph(title) + tables.as_html(table) if " Rule: " in title else tables.as_html(table, title)


def _left_out(rows: Sequence[Row]) -> str:
    """What the figure of coefficients cannot show."""
    reasons = {(c.task, c.why) for c in correlations(rows) if c.target == "accuracy" and c.why}
    return " ".join(f"{task} is partly or wholly undefined: {why}." for task, why in sorted(reasons))


def _diagnostics(rows: Sequence[Row]) -> tables.Rows:
    names = ("option_mass", "fallback_rate", "marginal_mismatch", "sum_rule_residual")
    return [
        ("task", "model", *(name.replace("_", " ") for name in names), "converged"),
        *(
            (
                row.record.task, row.model, *(f"{row.record.diagnostics.get(n, np.nan):.3g}" for n in names),
                "yes" if row.record.converged else "no",
            )
            for row in rows
        ),
    ]  # fmt: skip


def _rho(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.2f}"


def where(directory: Path) -> list[str]:
    """What a profile wrote."""
    return [
        f"Tables:  {directory / 'profile.csv'}, .parquet, .md; {directory / 'correlations.csv'}",
        f"Report:  {directory / 'report.html'}",
    ]
