"""A run: its identity, its recipe and its stages, in one directory and on one axis of optimizer steps."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fusionscope.errors import RunDirectoryError
from fusionscope.records.directory import RunDirectory, StageDirectory

_SCHEMA = 1
Status = Literal["pending", "running", "done"]


def new_id() -> str:
    """A new identity; the global random state is not used."""
    return secrets.token_hex(8)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a run.

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
class Run:
    """Who a run is and how far its stages have come; kept in ``run.json``.

    Args:
        directory: The run directory.
        id: Identity of the run: made once, kept when the directory is renamed.
        recipe: Name of the recipe; empty where one's own script trains.
        digest: Hash of the recipe's files: a run directory belongs to one recipe.
        seed: The seed that overrides those of the recipe, or None.
        stages: The stages in order; none where one's own script trains.
    """

    directory: Path
    id: str = field(default_factory=new_id)
    recipe: str = ""
    digest: str = ""
    seed: int | None = None
    stages: tuple[Stage, ...] = ()

    @classmethod
    def find(cls, directory: str | os.PathLike[str] | None) -> "Run | None":
        """The run of a directory, or None where there is none.

        Raises:
            RunDirectoryError: A run file that cannot be read.
        """
        path = RunDirectory(directory or ".").run
        if not path.exists():
            return None
        try:
            row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if row.pop("schema") != _SCHEMA:
                raise ValueError("another schema")
            return cls(directory=path.parent, stages=tuple(Stage(**stage) for stage in row.pop("stages")), **row)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunDirectoryError(
                f"{path} cannot be read: {error}",
                f"it must be a run of schema {_SCHEMA}, as fusionscope writes it",
                "choose another run directory, or move this one away",
            ) from error

    @property
    def name(self) -> str:
        """The name of the run for people: that of its directory."""
        return RunDirectory(self.directory).name

    @property
    def current(self) -> Stage | None:
        """The stage that is running, or None."""
        return next((stage for stage in self.stages if stage.status == "running"), None)

    def stage_directory(self, stage: str) -> StageDirectory:
        """Where a stage keeps its checkpoints, its configuration and its model."""
        return RunDirectory(self.directory).stage(stage)

    def start(self, name: str) -> "Run":
        """The run with the named stage running, after the steps of those before it."""
        index = [stage.name for stage in self.stages].index(name)
        offset = sum(stage.steps for stage in self.stages[:index])
        return self._with(index, status="running", step_offset=offset)

    def finish(self, name: str, steps: int) -> "Run":
        """The run with the named stage done after this many optimizer steps."""
        return self._with([stage.name for stage in self.stages].index(name), status="done", steps=steps)

    def save(self) -> "Run":
        """Write the run file, all or nothing, and return the run."""
        path = RunDirectory(self.directory).run
        path.parent.mkdir(parents=True, exist_ok=True)
        row = {"schema": _SCHEMA, **asdict(self)}
        del row["directory"]
        draft = path.with_name(f".{path.name}.tmp")
        draft.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
        draft.replace(path)
        return self

    def _with(self, index: int, **changes: Any) -> "Run":
        stages = list(self.stages)
        stages[index] = replace(stages[index], **changes)
        return replace(self, stages=tuple(stages))
