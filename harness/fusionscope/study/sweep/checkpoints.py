"""What can be probed after training: stage checkpoints, Hugging Face directories and names, adapters, whole runs."""

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fusionscope.errors import ConfigError
from fusionscope.records import Run, StageDirectory
from fusionscope.records.directory import LAST, PREVIOUS
from fusionscope.records.yaml_file import read_yaml_file

Kind = Literal["stage", "model", "adapter"]
_STEP = re.compile(r"(?:step=|checkpoint-|step[-_]?)(\d+)$")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One set of weights and where its records belong.

    Args:
        path: A ``.ckpt`` file, a directory, or the name of a model on the hub.
        kind: ``"stage"``: the trained weights of one of our stages. ``"model"``: a Hugging Face model. ``"adapter"``: a
            peft adapter.
        run: Identity of the run in the records; the name of what no run made.
        run_name: Name of the run for people; empty where it is `run`.
        step: Optimizer steps since the run began.
        stage: Name of the stage.
        stage_step: Optimizer steps since the stage began.
        baseline: Whether this was before the training under study.
        config: The stage's ``config.yaml``, or None.
        base: Where the base model is now, if not where the checkpoint says.
    """

    path: str
    kind: Kind
    run: str
    run_name: str = ""
    step: int = 0
    stage: str = ""
    stage_step: int = 0
    baseline: bool = False
    config: Path | None = None
    base: Path | None = None

    @property
    def name(self) -> str:
        """Name of the run for people."""
        return self.run_name or self.run


def one_checkpoint(path: str, name: str) -> Checkpoint:
    """The one checkpoint of a path, its records under a name that may hold any character.

    Raises:
        ConfigError: A path that names no checkpoint, or several.
    """
    found = _expand(path)
    if len(found) != 1:
        raise ConfigError(f"{path} holds {len(found)} checkpoints", f"{name!r} is one of them", "name the file")
    return replace(found[0], run=name, run_name="")


def find_checkpoints(sources: Sequence[str]) -> list[Checkpoint]:
    """All checkpoints that the sources name, in order.

    Args:
        sources: Each a run directory, a ``.ckpt`` file, a Hugging Face or adapter directory, a hub name, or a glob;
            ``NAME=SOURCE`` gives a model or an adapter the name that its records carry.

    Raises:
        ConfigError: A source that is none of these, or two checkpoints whose records could not be told apart.
        DataError: A ``.ckpt`` file that cannot be read.
    """
    found = [one for source in sources for one in _named(source)]
    places: dict[tuple[str, int, str], Checkpoint] = {}
    for one in sorted(found, key=lambda one: Path(one.path).name in (LAST, PREVIOUS)):
        other = places.setdefault((one.run, one.step, one.stage), one)
        same = Path(one.path).name in (LAST, PREVIOUS) and Path(one.path).parent == Path(other.path).parent
        if other.path != one.path and not same:
            raise ConfigError(
                f"{other.path} and {one.path} are both step {one.step} of {one.name!r}",
                "records of one run and step could not be told apart",
                "name them: probe FIRST=PATH SECOND=PATH",
            )
    return list(places.values())


def _named(source: str) -> list[Checkpoint]:
    name, separator, rest = source.partition("=")
    if separator and not Path(source).exists() and "/" not in name:
        return [replace(one, run=name, run_name="") for one in _expand(rest)]
    return _expand(source)


def _expand(target: str) -> list[Checkpoint]:
    if Path(target).exists() or not any(mark in target for mark in "*?["):
        return _one(target)
    hits = sorted(glob.glob(target))
    if not hits:
        raise ConfigError(f"{target!r} matches nothing", "a glob must name some checkpoint", "correct the pattern")
    return [one for hit in hits for one in _one(hit)]


def _one(target: str) -> list[Checkpoint]:
    path = Path(target)
    if path.suffix == ".ckpt":
        return [_stage_checkpoint(path)]
    run = Run.find(path)
    if run is not None and run.stages:
        return _of_run(run)
    if (path / "adapter_config.json").is_file():
        return [Checkpoint(path=target, kind="adapter", **_name(path))]
    if (path / "config.json").is_file():
        return [Checkpoint(path=target, kind="model", **_name(path))]
    if path.exists() or target.startswith((".", "/")) or target.count("/") > 1:
        raise ConfigError(
            f"{target} holds nothing to probe" if path.exists() else f"{target} does not exist",
            "it must be a run directory (run.json), a .ckpt file, a Hugging Face directory (config.json), an "
            "adapter (adapter_config.json), a hub name or a glob",
            "correct the path",
        )
    return [Checkpoint(path=target, kind="model", run=target)]


def _name(path: Path) -> dict[str, Any]:
    step = _STEP.search(path.name)
    if not step:
        return {"run": path.resolve().name}
    folder = path.resolve().parent
    run = Run.find(folder)  # of a trainer's output directory that was probed while it trained
    steps = {"step": int(step[1]), "stage_step": int(step[1])}
    return {"run": folder.name, **steps} if run is None else {"run": run.id, "run_name": run.name, **steps}


def _of_run(run: Run) -> list[Checkpoint]:
    """The checkpoints of all stages of a run; the one to resume from is none of its own."""
    paths = [path for stage in run.stages for path in run.stage_directory(stage.name).saved_steps()]
    if not paths:
        raise ConfigError(
            f"{run.directory} holds no checkpoints",
            "a run keeps them in STAGE/checkpoints/step=*.ckpt if its recipe has ScheduledCheckpoint",
            "add fusionscope.callbacks.ScheduledCheckpoint to the recipe's callbacks",
        )
    return [_stage_checkpoint(path) for path in paths]


def _stage_checkpoint(path: Path) -> Checkpoint:
    """A ``.ckpt`` file, or DeepSpeed's directory of that name, with its place in the run, where it lies in one."""
    if not path.exists():
        raise ConfigError(f"{path} does not exist", "a .ckpt is a checkpoint of one of our stages", "correct the path")
    match = _STEP.search(path.stem)
    step = int(match[1]) if match else _steps_in(path)
    directory = StageDirectory.of_checkpoint(path)
    folder = directory.path
    config = directory.config if directory.config.is_file() else None
    run = Run.find(folder.parent)
    names = [stage.name for stage in run.stages] if run else []
    if run is None or folder.name not in names:
        name = f"{path.resolve().parent.name}/{path.stem}" if match is None else path.resolve().parent.name
        return Checkpoint(path=str(path), kind="stage", run=name, step=step, stage_step=step, config=config)
    index = names.index(folder.name)
    base = run.stage_directory(names[index - 1]).model if index else None
    return Checkpoint(
        path=str(path),
        kind="stage",
        run=run.id,
        run_name=run.name,
        step=run.stages[index].step_offset + step,
        stage=folder.name,
        stage_step=step,
        baseline=bool(callback_settings(config).get("baseline", False)),
        config=config,
        base=base if base and base.is_dir() else None,
    )


def _steps_in(path: Path) -> int:
    """The optimizer steps that a checkpoint says it was saved after; its name (``last.ckpt``) does not."""
    from fusionscope.stages.checkpoint import read_state

    return int(read_state(path).get("global_step", 0))


def read_config(config: Path | None) -> dict[str, Any]:
    """The configuration that a stage kept; {} where there is none.

    Raises:
        ConfigError: A file that is no YAML.
    """
    return (read_yaml_file(config) or {}) if config else {}


def callback_settings(config: Path | None) -> dict[str, Any]:
    """What a stage's PIDCallback was told, from the configuration that the stage kept; {} where there is none."""
    callbacks = (read_config(config).get("trainer") or {}).get("callbacks") or []
    for callback in callbacks:
        if str(callback.get("class_path", "")).endswith(".PIDCallback"):
            return dict(callback.get("init_args") or {})
    return {}
