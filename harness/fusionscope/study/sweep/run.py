"""Probing checkpoints after training: every checkpoint x task x design, where records of it are missing."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fusionscope.errors import ConfigError, FusionscopeError
from fusionscope.lvlm import FeatureCache
from fusionscope.probe import design_of, model_name, probe, sample_size, to_record
from fusionscope.records import Record, RecordFile
from fusionscope.study.sweep.checkpoints import Checkpoint
from fusionscope.study.sweep.models import Models
from fusionscope.tasks import HeldOutTask, TaskSpec, load_tasks

RECORDS = "records.jsonl"
_SHARD = "records.worker{}.jsonl"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure of every checkpoint.

    Args:
        tasks: Held-out tasks.
        designs: Designs; None is the task's own default.
        weights: Names of pair weights, or ``"all"`` that a task has.
        layers: ``"all"``, ``"last"`` or layer numbers.
        estimator: The PID estimator.
        settings: More keyword arguments of `fusionscope.probe.probe`.
    """

    tasks: Sequence[str | TaskSpec | HeldOutTask]
    designs: Sequence[str | None] = (None,)
    weights: Literal["all"] | Sequence[str] = "all"
    layers: str | Sequence[int] = "all"
    estimator: str = "exact"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def weights_of(self, task: HeldOutTask) -> tuple[str, ...]:
        """The pair weights under which a task is decomposed."""
        return tuple(task.pair_weights) if self.weights == "all" else tuple(self.weights)


def sweep(
    checkpoints: Sequence[Checkpoint],
    plan: Plan,
    directory: Path,
    *,
    device: str = "cpu",
    dtype: str = "auto",
    share: tuple[int, int] = (0, 1),
    keep_going: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> int:
    """Probe what has no records yet, and add it to ``records.jsonl``; may be stopped at any moment and run again.

    Args:
        checkpoints: What to probe.
        plan: What to measure.
        directory: Where the records are.
        device: Where the models go.
        dtype: Dtype of Hugging Face models.
        keep_going: Go on with the other checkpoints where one cannot be loaded or probed, and raise at the end.
        share: This worker's number and how many there are: it takes every n-th checkpoint and writes a file of its own.
        say: Told what happens.

    Returns:
        Number of probes made.

    Raises:
        ConfigError: No tasks, a model under a name that has records of another one, or, with ``keep_going``,
            checkpoints that failed and why.
    """
    if not plan.tasks:
        raise ConfigError("no task to probe", "a sweep needs at least one held-out task", "name one with --task")
    number, workers = share
    out = RecordFile(directory / (RECORDS if workers == 1 else _SHARD.format(number)))
    done = RecordFile(directory / RECORDS).read() + (out.read() if workers > 1 else [])
    tasks = load_tasks(plan.tasks)
    models, cache, made = Models(device=device, dtype=dtype), FeatureCache(), 0
    failed: dict[str, str] = {}
    mine = checkpoints[number::workers]
    for i, checkpoint in enumerate(mine, start=1):
        missing = [
            (task, design)
            for task in tasks
            for design in plan.designs
            if not _is_done(done, checkpoint, task, design, plan)
        ]
        try:
            _check_model(done, checkpoint, directory)
            if not missing:
                continue
            made += _probe_all(models, checkpoint, missing, plan, cache, out)
            say(f"[{i}/{len(mine)}] {checkpoint.run} step {checkpoint.step}: {len(missing)} probes")
        except Exception as error:  # whatever stops one model: a missing package is an ImportError
            if not keep_going:
                raise
            failed[checkpoint.path] = _in_short(error)
            say(f"[{i}/{len(mine)}] {checkpoint.run} failed: {failed[checkpoint.path]}")
    if failed:
        raise ConfigError(
            f"{len(failed)} of {len(mine)} checkpoints failed: "
            + "; ".join(f"{path}: {why}" for path, why in failed.items()),
            "the others were probed and their records are kept",
            "mend or leave out these and run the same command again",
        )
    return made


def _probe_all(
    models: Models, checkpoint: Checkpoint, missing: Sequence[tuple[HeldOutTask, str | None]], plan: Plan,
    cache: FeatureCache, out: RecordFile,
) -> int:  # fmt: skip
    """Probe a checkpoint; each task's records are on the disk before the next begins."""
    lvlm = models.load(checkpoint)
    for task, design in missing:
        with models.precision():
            results = probe(
                lvlm, task, design=design, weights=plan.weights_of(task), layers=plan.layers,
                estimator=plan.estimator, feature_cache=cache, **plan.settings,
            )  # fmt: skip
        out.append([_record(result, checkpoint, model_name(lvlm)) for result in results])
    return len(missing)


def _in_short(error: Exception) -> str:
    """An error's first line, with what it says of the reason if it is ours."""
    if isinstance(error, FusionscopeError):
        return f"{error.what} ({error.why.strip()})" if error.why else error.what
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), 'no message')}"


def sweep_on(devices: Sequence[str], command: Sequence[str], directory: Path) -> None:
    """Run a sweep's command once per device, each with its share of the checkpoints, and merge what they wrote.

    Args:
        devices: ``cuda:0``, ``cuda:1`` and so on.
        command: Arguments of ``fusionscope`` without device and share.
        directory: Where the records are.

    Raises:
        ConfigError: A worker stopped; what all of them wrote is kept and merged.
    """
    merge(directory)
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "fusionscope.cli", *command, "--device", device, "--share", f"{i}/{len(devices)}"],
            env=os.environ.copy(),
        )
        for i, device in enumerate(devices)
    ]
    statuses = [process.wait() for process in started]
    merge(directory)
    if any(statuses):
        raise ConfigError(
            f"workers on {', '.join(devices)} ended with {statuses}",
            "a worker that fails prints its reason above",
            "mend it and run the same command: what is done is skipped",
        )


def merge(directory: Path) -> None:
    """Move the records of workers into ``records.jsonl``; nothing is lost if it is stopped between."""
    for shard in sorted(directory.glob(_SHARD.format("*"))):
        RecordFile(directory / RECORDS).append(RecordFile(shard).read())
        shard.unlink()


def _record(result: Any, checkpoint: Checkpoint, model: str) -> Record:
    return to_record(
        result,
        run=checkpoint.run,
        step=checkpoint.step,
        stage=checkpoint.stage,
        stage_step=checkpoint.stage_step,
        baseline=checkpoint.baseline,
        model=model,
    )


def _check_model(records: Sequence[Record], checkpoint: Checkpoint, directory: Path) -> None:
    """Refuse to go on with the records of another model under the same name."""
    place = (checkpoint.run, checkpoint.step, checkpoint.stage)
    models = {r.model for r in records if r.model and (r.run, r.step, r.stage) == place} - {checkpoint.path}
    others = [model for model in models if Path(model).resolve() != Path(checkpoint.path).resolve()]
    if checkpoint.kind == "model" and others:
        raise ConfigError(
            f"{directory / RECORDS} has records of {others[0]} under the name {checkpoint.run!r}, not of "
            f"{checkpoint.path}",
            "they would be taken for this model's",
            "give it another name or another --out; a relative path must be given from where it was given first",
        )


def _is_done(
    records: Sequence[Record], checkpoint: Checkpoint, task: HeldOutTask, design: str | None, plan: Plan
) -> bool:
    """Whether all layers under all weights are there, of as many images (but damaged ones) and questions."""
    place = (checkpoint.run, checkpoint.step, checkpoint.stage, task.name, plan.estimator)
    chosen = design_of(task, design)
    images, questions = sample_size(task, design, **plan.settings)
    damaged = int(plan.settings.get("max_bad_images", 0))
    found = [
        r for r in records
        if (r.run, r.step, r.stage, r.task, r.estimator) == place and r.design == chosen
        and images - damaged <= r.n_images <= images
        and (r.n_questions == questions or r.n_images < images)
    ]  # fmt: skip
    if not found:
        return False
    wanted = set(plan.weights_of(task)) if chosen == "crossed" else {"natural"}
    layers = _layers(plan.layers, found[0].n_layers)
    return {(r.weights, r.layer) for r in found} >= {(name, layer) for name in wanted for layer in layers}


def _layers(layers: str | Sequence[int], n_layers: int) -> set[int]:
    if isinstance(layers, str):
        return set(range(n_layers + 1)) if layers == "all" else {n_layers}
    return {layer % (n_layers + 1) for layer in layers}
