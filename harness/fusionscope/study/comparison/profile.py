"""Models x tasks: what a profile is, running it, and the tables that come out."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fusionscope.errors import ConfigError
from fusionscope.plugins import called
from fusionscope.probe import ProbeSpec
from fusionscope.records import ATOMS, Record
from fusionscope.records.series import SHORT, last_layer
from fusionscope.records.yaml_file import read_yaml
from fusionscope.study.comparison import breadth
from fusionscope.study.comparison.breadth import Row
from fusionscope.study.report.tables import Rows, as_markdown, with_error
from fusionscope.study.sweep.checkpoints import Checkpoint, one_checkpoint
from fusionscope.tasks import TaskSpec

SPEC = "profile.yaml"
_KEYS = {"tasks", "models", "spec", "batch_size"}
_MODEL_KEYS = {"name", "path", "family", "parameters"}


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model of a profile.

    Args:
        name: What tables call it.
        path: Whatever names one checkpoint: a directory, a hub name, a ``.ckpt`` file, an adapter.
        family: Its family.
        parameters: Number of parameters, NaN where unknown.
    """

    name: str
    path: str
    family: str
    parameters: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Models and tasks, as a YAML file states them.

    Args:
        models: The models.
        tasks: Held-out tasks.
        spec: What to measure; the last layer is compared, under the first law that a task has.
        batch_size: Sequences per pass; None finds it.
    """

    models: Sequence[Model]
    tasks: Sequence[TaskSpec]
    spec: ProbeSpec
    batch_size: int | None = None

    def checkpoints(self) -> list[Checkpoint]:
        """The models as checkpoints; records carry the models' names.

        Raises:
            ConfigError: A path that names no checkpoint, or several.
        """
        return [one_checkpoint(model.path, model.name) for model in self.models]


def read_profile(path: str | Path) -> Profile:
    """A profile from its YAML file.

    Raises:
        ConfigError: A file that is none, unknown keys, or a name that comes twice.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"{file} does not exist", "a profile is a YAML file of models and tasks", "give its path")
    found = read_yaml(file.read_text(encoding="utf-8"), str(file))
    if not isinstance(found, dict) or not {"models", "tasks"} <= set(found) <= _KEYS:
        keys = sorted(found) if isinstance(found, dict) else type(found).__name__
        raise ConfigError(
            f"{file} holds {keys}",
            f"it needs models and tasks and knows {', '.join(sorted(_KEYS))}",
            "correct the keys",
        )
    for key in ("models", "tasks"):
        if not isinstance(found[key], list) or not found[key]:
            raise ConfigError(f"{file}: {key} is {found[key]!r}", "a profile compares some", f"list {key} as `- ...`")
    models = [_model(file, row) for row in found["models"]]
    names = [model.name for model in models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{file} names {', '.join(twice)} twice", "records carry the name", "give each its own")
    tasks = [TaskSpec.parse(row, where=str(file)) for row in found["tasks"]]
    spec = called(f"{file}: spec", ProbeSpec, {"layers": "last", **(found.get("spec") or {})})
    return Profile(models=models, tasks=tasks, spec=spec, batch_size=found.get("batch_size"))


def rows_of(profile: Profile, records: Sequence[Record]) -> list[Row]:
    """One row a model and task that has records: the last layer, under the first law."""
    rows = []
    models = {model.name: model for model in profile.models}
    for task in dict.fromkeys(record.task for record in records):
        own = [record for record in last_layer(records) if record.task == task and record.run in models]
        order = list(dict.fromkeys(record.law for record in own))
        for record in (r for r in own if r.law == order[0]):
            model = models[record.run]
            rows.append(Row(model=model.name, family=model.family, parameters=model.parameters, record=record))
    places = {model.name: i for i, model in enumerate(profile.models)}
    return sorted(rows, key=lambda row: (row.record.task, places[row.model]))


def write_tables(profile: Profile, records: Sequence[Record], directory: Path) -> list[Path]:
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
    _csv(directory / "profile.csv", flat)
    pq.write_table(pa.Table.from_pylist(flat), directory / "profile.parquet")
    _csv(directory / "correlations.csv", [asdict(one) for one in breadth.correlations(rows)])
    sections = [f"## {name}\n\n{as_markdown(found)}\n" for name, found in comparisons(rows).items()]
    (directory / "profile.md").write_text(
        "\n".join(["# Profile\n", *without_records(profile, rows), *sections]), encoding="utf-8"
    )
    return [*(directory / f"profile.{ending}" for ending in ("csv", "parquet", "md")), directory / "correlations.csv"]


def without_records(profile: Profile, rows: Sequence[Row]) -> list[str]:
    """A sentence on each model that a table lacks: it failed, or was not probed yet."""
    there = {(row.record.task, row.model) for row in rows}
    tasks = sorted({task for task, _ in there})
    lacking = {m.name: [task for task in tasks if (task, m.name) not in there] for m in profile.models}
    return [f"No records of {name} on {', '.join(missing)}.\n" for name, missing in lacking.items() if missing]


def comparisons(rows: Sequence[Row]) -> dict[str, Rows]:
    """Every table of a profile, as texts: what was measured and what follows from it."""
    found = {
        "Models and tasks": _measured(rows),
        "Spearman correlations over models (95 % bootstrap interval)": _correlations(rows),
        f"Task regimes. Rule: {breadth.TASK_RULE}": _regimes(rows),
        f"Family strategies. Rule: {breadth.FAMILY_RULE}": _strategies(rows),
    }
    scaling = _scaling(rows)
    if len(scaling) > 1:
        found["Scale: from each size to the next larger one of its family"] = scaling
    return found


def _measured(rows: Sequence[Row]) -> Rows:
    head = ("task", "model", "family", *(f"{SHORT[atom]} (bits)" for atom in ATOMS), "total (bits)", "accuracy",
            "without image", "without text", "n")  # fmt: skip
    return [
        head,
        *(
            (
                row.record.task, row.model, row.family, *(with_error(row.record, atom) for atom in ATOMS),
                f"{row.record.total:.3f}", *(_number(getattr(row.record, name)) for name in _SHARES), str(row.record.n),
            )
            for row in rows
        ),
    ]  # fmt: skip


_SHARES = ("accuracy", "accuracy_without_image", "accuracy_without_text")


_FEW = 0.05


def _correlations(rows: Sequence[Row]) -> Rows:
    targets = {"accuracy": "accuracy", "drop": "accuracy drop without image"}
    groups: dict[tuple[str, str], list[breadth.Correlation]] = {}
    for c in breadth.correlations(rows):
        groups.setdefault((c.task, c.target), []).append(c)
    head = ("task", "with", *SHORT.values(), "I", "models", "undefined")
    return [
        head,
        *(
            (task, targets[target], *map(_coefficient, found), str(max(c.n for c in found)), _undefined(found))
            for (task, target), found in groups.items()
        ),
    ]


def _coefficient(c: breadth.Correlation) -> str:
    return "undefined" if c.why else f"{c.rho:.3f} [{c.low:.3f}, {c.high:.3f}]"


def _undefined(found: Sequence[breadth.Correlation]) -> str:
    """Why coefficients are undefined, or how often in resamples of the models, where that is not seldom."""
    reasons = list(dict.fromkeys(c.why for c in found if c.why))
    often = max((c.undefined for c in found if not c.why), default=0.0)
    return "; ".join([*reasons, *([f"{often:.0%} of resamples"] if often > _FEW else [])])


def _regimes(rows: Sequence[Row]) -> Rows:
    return [
        ("task", "regime", "Spearman(S, accuracy)", "Spearman(U2, accuracy)", "resamples that agree"),
        *(
            (v.name, v.verdict, _number(v.synergy), _number(v.language), _percent(v.support))
            for v in breadth.task_regimes(rows)
        ),
    ]


def _strategies(rows: Sequence[Row]) -> Rows:
    return [
        ("family", "strategy", "S, standardised", "U2, standardised"),
        *((v.name, v.verdict, _change(v.synergy), _change(v.language)) for v in breadth.family_strategies(rows)),
    ]


def _scaling(rows: Sequence[Row]) -> Rows:
    return [
        ("task", "family", "from", "to", "doublings", *(f"Δ{SHORT[atom]}" for atom in ATOMS), "ΔI", "Δaccuracy"),
        *(
            (d.task, d.family, d.smaller, d.larger, f"{d.doublings:.2f}", *map(_change, d.changes.values()))
            for d in breadth.scaling(rows)
        ),
    ]


def _flat(row: Row) -> dict[str, Any]:
    record = row.record
    return {
        "model": row.model, "family": row.family, "parameters": row.parameters, "task": record.task,
        "variant": record.variant, "design": record.design, "law": record.law, "estimator": record.estimator,
        "layer": record.layer,
        **record.atoms, "total": record.total,
        **{f"se_{name}": record.standard_errors.get(name, math.nan) for name in (*ATOMS, "total")},
        **{f"low_{atom}": record.interval(atom)[0] for atom in ATOMS},
        **{f"high_{atom}": record.interval(atom)[1] for atom in ATOMS},
        **{name: getattr(record, name) for name in _SHARES},
        "accuracy_drop_without_image": row.value("drop"), "n": record.n, "n_images": record.n_images,
        "n_questions": record.n_questions, "converged": record.converged,
        "option_mass": record.diagnostics.get("option_mass", math.nan),
        "fallback_rate": record.diagnostics.get("fallback_rate", math.nan),
    }  # fmt: skip


def _csv(path: Path, flat: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(flat[0]) if flat else ["model"])
        writer.writeheader()
        writer.writerows(flat)


def _model(file: Path, row: Mapping[str, Any]) -> Model:
    if not isinstance(row, dict) or not {"name", "path", "family"} <= set(row) <= _MODEL_KEYS:
        raise ConfigError(
            f"{file}: model {row}", "a model has name, path, family and may have parameters", "correct the entry"
        )
    try:
        return Model(**{**row, "parameters": float(row.get("parameters", math.nan))})
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{file}: parameters {row['parameters']!r} of {row['name']}", "it is a number", "such as 7.06e+9"
        ) from error


def _percent(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.0%}"


def _change(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:+.3f}".replace("-0.000", "+0.000")


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"
