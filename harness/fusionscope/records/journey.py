"""A run of several stages in one directory, on one axis of optimizer steps."""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fusionscope.errors import RunDirectoryError

FILE = "journey.json"
_SCHEMA = 1
Status = Literal["pending", "running", "done"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a journey.

    Args:
        name: Name of the stage, the stem of its recipe file.
        status: Whether it has begun and ended.
        step_offset: Optimizer steps of all stages before it.
        steps: Optimizer steps that it took, once it is done.
    """

    name: str
    status: Status = "pending"
    step_offset: int = 0
    steps: int = 0


@dataclass(frozen=True, kw_only=True)
class Journey:
    """The stages of a run directory and how far they have come; kept in ``journey.json``.

    Args:
        directory: The run directory.
        recipe: Name of the recipe.
        digest: Hash of the recipe's files: a run directory belongs to one recipe.
        seed: The seed that overrides those of the recipe, or None.
        stages: The stages in order.
    """

    directory: Path
    recipe: str
    digest: str
    seed: int | None
    stages: tuple[Stage, ...]

    @classmethod
    def find(cls, directory: str | os.PathLike[str] | None) -> "Journey | None":
        """The journey of a run directory, or None where there is none.

        Raises:
            RunDirectoryError: A ``journey.json`` that cannot be read.
        """
        path = Path(directory or ".") / FILE
        if not path.exists():
            return None
        try:
            row: dict[str, Any] = json.loads(path.read_text())
            if row.pop("schema") != _SCHEMA:
                raise ValueError("another schema")
            return cls(directory=path.parent, stages=tuple(Stage(**stage) for stage in row.pop("stages")), **row)
        except (ValueError, TypeError, KeyError) as error:
            raise RunDirectoryError(
                f"{path} cannot be read: {error}",
                f"it must be a journey of schema {_SCHEMA}, as `fusionscope run` writes it",
                "choose another run directory with --run-dir, or move this one away",
            ) from error

    @property
    def name(self) -> str:
        """Name of the run: that of its directory."""
        return self.directory.resolve().name

    @property
    def current(self) -> Stage | None:
        """The stage that is running, or None."""
        return next((stage for stage in self.stages if stage.status == "running"), None)

    @property
    def records_path(self) -> Path:
        """Where the run's records are."""
        return self.directory / "records.jsonl"

    def stage_directory(self, stage: str) -> Path:
        """Where a stage keeps its checkpoints, its configuration and its model."""
        return self.directory / stage

    def start(self, name: str) -> "Journey":
        """The journey with the named stage running, after the steps of those before it."""
        index = [stage.name for stage in self.stages].index(name)
        offset = sum(stage.steps for stage in self.stages[:index])
        return self._with(index, status="running", step_offset=offset)

    def finish(self, name: str, steps: int) -> "Journey":
        """The journey with the named stage done after so many optimizer steps."""
        return self._with([stage.name for stage in self.stages].index(name), status="done", steps=steps)

    def save(self) -> "Journey":
        """Write the journey, all or nothing, and return it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        row = {"schema": _SCHEMA, **asdict(self)}
        del row["directory"]
        draft = self.directory / f".{FILE}.tmp"
        draft.write_text(json.dumps(row, indent=1) + "\n")
        draft.replace(self.directory / FILE)
        return self

    def _with(self, index: int, **changes: Any) -> "Journey":
        stages = list(self.stages)
        stages[index] = replace(stages[index], **changes)
        return replace(self, stages=tuple(stages))
