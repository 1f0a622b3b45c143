"""The page of a profile: models beside each other on every task."""

from collections.abc import Sequence

import numpy as np

from fusionscope.records import Record
from fusionscope.records.series import SHORT
from fusionscope.records.tables import Rows
from fusionscope.study.comparison.figures import correlations_card, families_card, scatter_card
from fusionscope.study.comparison.profile import Profile, rows_of
from fusionscope.study.comparison.statistics import Row, by_task, correlations
from fusionscope.study.comparison.tables import comparisons, without_records
from fusionscope.study.comparison.verdicts import task_regimes
from fusionscope.study.page import (
    SOURCES,
    card,
    cards,
    citations,
    inline_svg,
    page,
    paragraph,
    section,
    sentences,
    table,
    tiles,
)

_DIAGNOSTICS = ("option_mass", "fallback_rate", "marginal_mismatch", "sum_rule_residual")


def profile_page(profile: Profile, records: Sequence[Record], *, name: str) -> str:
    """The page of a profile, as HTML."""
    rows = rows_of(profile, records)
    groups = by_task(rows)
    verdicts = [
        (v.verdict, f"{v.name}: Spearman with accuracy {_rho(v.synergy)} for S, {_rho(v.language)} for U2")
        for v in task_regimes(rows)
    ]
    measured, ranked, *rest = (_titled(title, rows_of_table) for title, rows_of_table in comparisons(rows).items())
    lacking = [paragraph(line) for line in without_records(profile, rows)]
    scatters = [
        card(
            inline_svg(scatter_card(models, atom), f"{SHORT[atom]} against accuracy, {task}", f"b{i}{SHORT[atom]}"),
            title=f"{task}: {SHORT[atom]} and accuracy",
        )
        for i, (task, models) in enumerate(groups.items())
        for atom in ("synergy", "unique_language")
    ]
    comparing = [
        card(
            inline_svg(correlations_card(rows), "Correlations with accuracy", "c"),
            title="What goes with accuracy",
            caption=_left_out(rows),
        ),
        card(inline_svg(families_card(rows), "Families", "f"), title="Families"),
    ]
    n = len({row.model for row in rows})
    return page(
        name,
        f"How {n} models answer {len(groups)} tasks: vision, language and fusion, in bits.",
        [
            tiles(verdicts),
            section("Breadth: models and tasks", cards(scatters), *lacking, measured),
            section("What goes with accuracy", cards(comparing), ranked, *rest),
            section("Diagnostics", table(_diagnostics(rows))),
            section("Methods", paragraph(" ".join(sentences([row.record for row in rows])))),
            section("Sources", citations(SOURCES)),
        ],
    )


def _titled(title: str, rows: Rows) -> str:
    """A table under its title; a rule is a paragraph of its own, as wide as the page."""
    return paragraph(title) + table(rows) if " Rule: " in title else table(rows, title)


def _left_out(rows: Sequence[Row]) -> str:
    """What the figure of coefficients cannot show."""
    reasons = {(c.task, c.why) for c in correlations(rows) if c.target == "accuracy" and c.why}
    return " ".join(f"{task} is partly or wholly undefined: {why}." for task, why in sorted(reasons))


def _diagnostics(rows: Sequence[Row]) -> Rows:
    head = ("task", "model", *(name.replace("_", " ") for name in _DIAGNOSTICS), "converged")
    return [head, *(_diagnostics_of(row) for row in rows)]


def _diagnostics_of(row: Row) -> tuple[str, ...]:
    numbers = (row.record.diagnostics.get(name, np.nan) for name in _DIAGNOSTICS)
    values = ("undefined" if np.isnan(number) else f"{number:.3g}" for number in numbers)
    return (row.record.task, row.model, *values, "yes" if row.record.converged else "no")


def _rho(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.2f}"
