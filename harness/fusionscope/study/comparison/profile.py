"""Models x tasks: what a profile is, and its records as rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionscope.errors import ConfigError
from fusionscope.plugins import called
from fusionscope.probe import ProbeSpec
from fusionscope.records import Record
from fusionscope.records.series import last_layer
from fusionscope.records.yaml_file import read_yaml_file
from fusionscope.study.comparison.statistics import Row
from fusionscope.study.sweep import Checkpoint, one_checkpoint
from fusionscope.tasks import TaskSpec

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
    given = read_yaml_file(file)
    if not isinstance(given, dict) or not {"models", "tasks"} <= set(given) <= _KEYS:
        keys = sorted(given) if isinstance(given, dict) else type(given).__name__
        raise ConfigError(
            f"{file} holds {keys}",
            f"it needs models and tasks and knows {', '.join(sorted(_KEYS))}",
            "correct the keys",
        )
    for key in ("models", "tasks"):
        if not isinstance(given[key], list) or not given[key]:
            raise ConfigError(f"{file}: {key} is {given[key]!r}", "a profile compares some", f"list {key} as `- ...`")
    models = [_model(file, row) for row in given["models"]]
    names = [model.name for model in models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{file} names {', '.join(twice)} twice", "records carry the name", "give each its own")
    tasks = [TaskSpec.parse(row, where=str(file)) for row in given["tasks"]]
    spec = called(f"{file}: spec", ProbeSpec, {"layers": "last", **(given.get("spec") or {})})
    return Profile(models=models, tasks=tasks, spec=spec, batch_size=given.get("batch_size"))


def rows_of(profile: Profile, records: Sequence[Record]) -> list[Row]:
    """One row a model and task that has records: the last layer, under the first law."""
    rows = []
    models = {model.name: model for model in profile.models}
    for task in dict.fromkeys(record.task for record in records):
        of_task = [record for record in last_layer(records) if record.task == task and record.run in models]
        laws = list(dict.fromkeys(record.law for record in of_task))
        newest = {record.run: record for record in of_task if record.law == laws[0]}
        for record in newest.values():
            model = models[record.run]
            rows.append(Row(model=model.name, family=model.family, parameters=model.parameters, record=record))
    places = {model.name: i for i, model in enumerate(profile.models)}
    return sorted(rows, key=lambda row: (row.record.task, places[row.model]))


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
