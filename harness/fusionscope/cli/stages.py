"""The stages of a recipe, one process each, in order and in one run directory."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from fusionscope.cli.recipes import find_recipe
from fusionscope.cli.signals import STOPPED, Child, StopRequest, requeue
from fusionscope.errors import ConfigError, RunDirectoryError
from fusionscope.records import Run, RunDirectory, Stage
from fusionscope.records.checkpoints import to_resume
from fusionscope.records.lock import RunLock


def run_stages(
    recipe: str,
    request: StopRequest,
    *,
    run_dir: str | None = None,
    seed: int | None = None,
    settings: Sequence[str] = (),
) -> int:
    """Run the stages that are not done yet, each in a process of its own, then write the report.

    A process for each stage frees its memory, and lets strategies that start processes of their own start the stage,
    not the whole run. Each stage's model is the export of the one before it.

    Args:
        recipe: A directory with one YAML file a stage (run in the order of their names), one such file, or a shipped
            recipe's name.
        request: What asks this process to stop.
        run_dir: Where to run; ``runs/NAME`` by default.
        seed: Seed of every stage, instead of the recipe's.
        settings: ``KEY=VALUE`` settings for every stage.

    Returns:
        0, or the exit status of the stage that stopped; see `fusionscope.cli.signals`.

    Raises:
        UnknownNameError: No such recipe.
        ConfigError: A file that is no stage, or a setting that is no pair.
        RunDirectoryError: The run directory holds another recipe's run, or another process runs in it.
        DataError: The checkpoints of a stage are all torn.
    """
    name, paths = find_recipe(recipe)
    stage_files = {path.stem: path for path in paths}
    for path in paths:
        _check_stage(path)
    directory = Path(run_dir or Path("runs") / name)
    with RunLock(directory) as lock:
        if lock.left_by:
            print(f"{directory} was left by {lock.left_by}, which did not end by itself", flush=True)
        run = _open(directory, name, stage_files, seed, settings)
        status = _run_missing(run, stage_files, settings, request, lock)
        if request.requeue:
            requeue()
        if status:
            return status
        if not RunDirectory(directory).records.exists():
            print(f"{directory} is done; no PIDCallback has probed it, so there is no report", flush=True)
            return 0
        from fusionscope.study.report import report

        print(report(directory))
    return 0


def _run_missing(
    run: Run, stage_files: dict[str, Path], settings: Sequence[str], request: StopRequest, lock: RunLock
) -> int:
    """Run what is not done; returns 0, or the exit status of the stage that stopped."""
    for stage in run.stages:
        if stage.status == "done":
            print(f"[{stage.name}] done before: {stage.steps} steps", flush=True)
            continue
        if request:
            return STOPPED
        run = run.start(stage.name).save()
        print(f"[{stage.name}] runs in {run.directory}", flush=True)
        command = _command(run, stage.name, stage_files[stage.name], settings)
        status = Child(command, request, keep_open=() if lock.descriptor is None else (lock.descriptor,)).wait()
        reached = Run.find(run.directory)
        if status or reached is None or reached.current is not None:
            print(f"[{stage.name}] stopped (exit status {status}). {_what_now(run.directory)}", file=sys.stderr)
            return status or 1
        run = reached
    return 0


def _what_now(directory: Path) -> str:
    if _begun(directory):
        return "What it wrote is kept; the same command goes on from its last checkpoint."
    return "It had not begun: correct what it said and run it again."


def _begun(directory: Path) -> bool:
    """Whether a run has written anything but its plan, so that its settings can no longer change."""
    known = (RunDirectory(directory).run, RunDirectory(directory).lock)
    return any(path not in known for path in directory.iterdir())


def _check_stage(path: Path) -> None:
    from fusionscope.records.yaml_file import read_yaml_file

    settings = read_yaml_file(path)
    if not isinstance(settings, dict) or "model" not in settings:
        raise ConfigError(
            f"{path} is not a stage's YAML file",
            "it has no key `model`, which says what is trained",
            "see `fusionscope recipes show sandbox`; a list of models to compare is for `fusionscope profile`",
        )


def _open(directory: Path, recipe: str, stage_files: dict[str, Path], seed: int | None, settings: Sequence[str]) -> Run:
    """The run of a directory, begun or gone on with."""
    for setting in settings:
        if "=" not in setting:
            raise ConfigError(f"--set {setting}", "a setting is KEY=VALUE", "such as --set trainer.max_steps=10")
        if setting.startswith("trainer.fast_dev_run="):
            raise ConfigError(
                f"--set {setting}",
                "a trial run leaves nothing, and each stage of a run begins with the model that the one before it left",
                "try one stage: fusionscope fit --config STAGE.yaml --trainer.fast_dev_run=true",
            )
    digest = hashlib.sha256()
    for path in stage_files.values():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(repr((seed, list(settings))).encode())
    run = Run.find(directory)
    orphans = [name for name in stage_files if RunDirectory(directory).stage(name).checkpoints.exists()]
    if run is None and orphans:
        raise RunDirectoryError(
            f"{directory} has checkpoints of {', '.join(orphans)}, and no {RunDirectory(directory).run.name}",
            "that file says which recipe and seed they belong to; without it another's could be mixed with them",
            "put it back from a backup, or choose another directory with --run-dir",
        )
    if run is None or not _begun(directory):
        stages = tuple(Stage(name=name) for name in stage_files)
        return Run(directory=directory, recipe=recipe, digest=digest.hexdigest(), seed=seed, stages=stages).save()
    if run.digest != digest.hexdigest():
        raise RunDirectoryError(
            f"{directory} holds a run of recipe {run.recipe!r} with seed {run.seed}, not of {recipe} as it is now",
            "a run directory belongs to one recipe, one seed and one set of settings, or its curves would mix them",
            f"choose another with --run-dir, or repeat the recipe, --seed and --set that made {directory}",
        )
    return run


def _command(run: Run, stage: str, config: Path, settings: Sequence[str]) -> list[str]:
    """The command of one stage: plain ``fusionscope fit`` with the settings that place it in the run."""
    index = [s.name for s in run.stages].index(stage)
    command = [sys.executable, "-m", "fusionscope.cli", "fit", "--config", str(config)]
    command += [f"--trainer.default_root_dir={run.directory}"]
    command += [f"--trainer.logger.init_args.save_dir={run.directory}"]
    command += [f"--{setting}" for setting in settings]
    if run.seed is not None:
        command += [f"--seed_everything={run.seed}"]
    if index:
        command += [f"--model.init_args.model={run.stage_directory(run.stages[index - 1].name).model}"]
    checkpoint, problem = to_resume(run.stage_directory(stage).checkpoints)
    if problem:
        print(f"[{stage}] {problem}: goes on from {checkpoint}, which is whole", file=sys.stderr)
    if checkpoint is not None:
        command += [f"--ckpt_path={checkpoint}"]
    return command
