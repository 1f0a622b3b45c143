"""The tables of a profile: as texts for pages, and as CSV, Parquet and Markdown files."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fusionscope.records import ATOMS, Record, RunDirectory
from fusionscope.records.series import SHORT
from fusionscope.records.tables import Rows, as_markdown, with_error
from fusionscope.study.comparison import statistics, verdicts
from fusionscope.study.comparison.profile import Profile, rows_of
from fusionscope.study.comparison.statistics import Row

_ACCURACIES = ("accuracy", "accuracy_without_image", "accuracy_without_text")
_SELDOM = 0.05
"""Fraction of resamples without a coefficient below which it is not mentioned."""


def write_tables(profile: Profile, records: Sequence[Record], directory: RunDirectory) -> list[Path]:
    """Write the profile as CSV, Parquet and Markdown, and the rank correlations as ``correlations.csv``.

    Args:
        profile: Models and tasks.
        records: All records.
        directory: Where to.

    Returns:
        The files.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = rows_of(profile, records)
    flat = [_flat(row) for row in rows]
    as_csv, as_parquet, as_text = (directory.table("profile", ending) for ending in ("csv", "parquet", "md"))
    ranked = directory.table("correlations", "csv")
    _csv(as_csv, flat)
    pq.write_table(pa.Table.from_pylist(flat), as_parquet)
    _csv(ranked, [asdict(correlation) for correlation in statistics.correlations(rows)])
    sections = [f"## {name}\n\n{as_markdown(table)}\n" for name, table in comparisons(rows).items()]
    as_text.write_text("\n".join(["# Profile\n", *without_records(profile, rows), *sections]), encoding="utf-8")
    return [as_csv, as_parquet, as_text, ranked]


def without_records(profile: Profile, rows: Sequence[Row]) -> list[str]:
    """A sentence on each model that a table lacks: it failed, or was not probed yet."""
    there = {(row.record.task, row.model) for row in rows}
    tasks = sorted({task for task, _ in there})
    lacking = {m.name: [task for task in tasks if (task, m.name) not in there] for m in profile.models}
    return [f"No records of {name} on {', '.join(missing)}.\n" for name, missing in lacking.items() if missing]


def comparisons(rows: Sequence[Row]) -> dict[str, Rows]:
    """Every table of a profile, as texts: what was measured and what follows from it."""
    tables = {
        "Models and tasks": _measured(rows),
        "Spearman correlations over models (95 % bootstrap interval, each by itself)": _correlations(rows),
        f"Task regimes. Rule: {verdicts.TASK_RULE}": _regimes(rows),
        f"Family strategies. Rule: {verdicts.FAMILY_RULE}": _strategies(rows),
    }
    scaling = _scaling(rows)
    if len(scaling) > 1:
        tables["Scale: from each size to the next larger one of its family"] = scaling
    return tables


def _measured(rows: Sequence[Row]) -> Rows:
    atoms = [f"{SHORT[atom]} (bits)" for atom in ATOMS]
    head = ("task", "model", "family", *atoms, "total (bits)", "accuracy", "without image", "without text", "n")
    return [head, *(_measured_of(row) for row in rows)]


def _measured_of(row: Row) -> tuple[str, ...]:
    record = row.record
    atoms = [with_error(record, atom) for atom in ATOMS]
    accuracies = [_number(getattr(record, name)) for name in _ACCURACIES]
    total = with_error(record, "total")
    return (record.task, row.model, row.family, *atoms, total, *accuracies, str(record.n))


def _correlations(rows: Sequence[Row]) -> Rows:
    targets = {"accuracy": "accuracy", "drop": "accuracy drop without image"}
    groups: dict[tuple[str, str], list[statistics.Correlation]] = {}
    for c in statistics.correlations(rows):
        groups.setdefault((c.task, c.target), []).append(c)
    head = ("task", "with", *SHORT.values(), "I", "models", "undefined")
    return [
        head,
        *(
            (task, targets[target], *map(_coefficient, group), str(max(c.n for c in group)), _undefined(group))
            for (task, target), group in groups.items()
        ),
    ]


def _coefficient(c: statistics.Correlation) -> str:
    if c.why:
        return "undefined"
    return f"{c.rho:.3f} (no interval)" if math.isnan(c.low) else f"{c.rho:.3f} [{c.low:.3f}, {c.high:.3f}]"


def _undefined(group: Sequence[statistics.Correlation]) -> str:
    """Why coefficients are undefined, or how often in resamples of the models, where that is not seldom."""
    reasons = list(dict.fromkeys(c.why for c in group if c.why))
    often = max((c.undefined for c in group if not c.why), default=0.0)
    return "; ".join([*reasons, *([f"{often:.0%} of resamples"] if often > _SELDOM else [])])


def _regimes(rows: Sequence[Row]) -> Rows:
    head = ("Spearman(S, accuracy)", "Spearman(U2, accuracy)", "models", "by chance", "resamples that agree")
    return [
        ("task", "regime", *head),
        *(
            (*_verdict(v), _number(v.synergy), _number(v.language), str(v.models), _chance(v), _percent(v.support))
            for v in verdicts.task_regimes(rows)
        ),
    ]


def _strategies(rows: Sequence[Row]) -> Rows:
    return [
        ("family", "strategy", "S, standardised", "U2, standardised", "models", "by chance"),
        *(
            (*_verdict(v), _change(v.synergy), _change(v.language), str(v.models), _chance(v))
            for v in verdicts.family_strategies(rows)
        ),
    ]


def _verdict(v: verdicts.Verdict) -> tuple[str, str]:
    """The name and the verdict, with what the numbers alone would say where that is another."""
    return v.name, v.verdict if v.verdict == v.rule else f"{v.verdict} (by the numbers alone {v.rule})"


def _chance(v: verdicts.Verdict) -> str:
    return "" if math.isnan(v.p_value) else f"{v.p_value:.4f}"


def _scaling(rows: Sequence[Row]) -> Rows:
    return [
        ("task", "family", "from", "to", "doublings", *(f"Δ{SHORT[atom]}" for atom in ATOMS), "ΔI", "Δaccuracy"),
        *(
            (d.task, d.family, d.smaller, d.larger, f"{d.doublings:.2f}", *map(_change, d.changes.values()))
            for d in statistics.scaling(rows)
        ),
    ]


def _flat(row: Row) -> dict[str, Any]:
    record = row.record
    return {
        "model": row.model,
        "family": row.family,
        "parameters": row.parameters,
        "task": record.task,
        "variant": record.variant,
        "design": record.design,
        "law": record.law,
        "estimator": record.estimator,
        "layer": record.layer,
        **record.atoms,
        "total": record.total,
        **{f"se_{name}": record.standard_errors.get(name, math.nan) for name in (*ATOMS, "total")},
        **{f"low_{atom}": record.interval(atom)[0] for atom in ATOMS},
        **{f"high_{atom}": record.interval(atom)[1] for atom in ATOMS},
        **{name: getattr(record, name) for name in _ACCURACIES},
        "accuracy_drop_without_image": row.value("drop"),
        "n": record.n,
        "n_images": record.n_images,
        "n_questions": record.n_questions,
        "converged": record.converged,
        "option_mass": record.diagnostics.get("option_mass", math.nan),
        "fallback_rate": record.diagnostics.get("fallback_rate", math.nan),
    }


def _csv(path: Path, flat: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(flat[0]) if flat else ["model"])
        writer.writeheader()
        writer.writerows(flat)


def _percent(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.0%}"


def _change(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:+.3f}".replace("-0.000", "+0.000")


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"
