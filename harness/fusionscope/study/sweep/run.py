"""Probing checkpoints after training: every checkpoint x task x design, where records of it are missing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fusionscope.errors import ConfigError, FusionscopeError
from fusionscope.lvlm import FeatureCache, weights_fingerprint
from fusionscope.probe import Execution, ProbeSpec, model_name, probe, readable, to_record
from fusionscope.records import Record, RecordFile, RunDirectory
from fusionscope.study.sweep.checkpoints import Checkpoint
from fusionscope.study.sweep.models import Models
from fusionscope.tasks import HeldOutTask, TaskSpec, load_tasks


def sweep(
    checkpoints: Sequence[Checkpoint],
    tasks: Sequence[str | TaskSpec | HeldOutTask],
    specs: Sequence[ProbeSpec],
    directory: Path,
    *,
    device: str = "cpu",
    dtype: str = "auto",
    worker: tuple[int, int] = (0, 1),
    keep_going: bool = False,
    execution: Execution = Execution(),  # noqa: B008 (frozen)
    say: Callable[[str], None] = lambda text: None,
) -> int:
    """Probe what has no records yet, and add it to ``records.jsonl``; may be stopped at any moment and run again.

    Args:
        checkpoints: What to probe.
        tasks: Held-out tasks.
        specs: What to measure of each.
        directory: Where the records are.
        device: Where the models go.
        dtype: Dtype of Hugging Face models.
        keep_going: Go on with the other checkpoints where one cannot be loaded or probed, and raise at the end.
        worker: This worker's number and how many there are: it takes every n-th checkpoint, with a file of its own.
        execution: How to run.
        say: Called with a line for whatever happens.

    Returns:
        Number of probes made.

    Raises:
        ConfigError: No tasks, a model under a name that has records of another one, or, with ``keep_going``,
            checkpoints that failed and why.
    """
    if not tasks:
        raise ConfigError("no task to probe", "a sweep needs at least one held-out task", "name one with --task")
    number, workers = worker
    paths = RunDirectory(directory)
    out = RecordFile(paths.records if workers == 1 else paths.worker_records(number))
    done = RecordFile(paths.records).read() + (out.read() if workers > 1 else [])
    loaded = load_tasks(tasks)
    for task in loaded:
        for spec in specs:
            spec.check(task)
    models, made = Models(device=device, dtype=dtype), 0
    if execution.feature_cache is None:
        execution = replace(execution, feature_cache=FeatureCache())
    failed: dict[str, str] = {}
    mine = checkpoints[number::workers]
    for i, checkpoint in enumerate(mine, start=1):
        missing = [
            (task, spec)
            for task in loaded
            for spec in specs
            if not _is_done(done, checkpoint, readable(task, spec), spec)
        ]
        try:
            _check_model(done, checkpoint, directory)
            if not missing:
                continue
            made += _probe_all(models, checkpoint, missing, execution, out)
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
            "correct or leave out these and run the same command again",
        )
    return made


def _probe_all(
    models: Models,
    checkpoint: Checkpoint,
    missing: Sequence[tuple[HeldOutTask, ProbeSpec]],
    execution: Execution,
    out: RecordFile,
) -> int:
    """Probe a checkpoint; each task's records are on the disk before the next begins."""
    lvlm = models.load(checkpoint)
    with models.precision():
        execution = execution.of_model(weights_fingerprint([lvlm.model]))
        for task, spec in missing:
            results = probe(lvlm, task, spec, execution=execution)
            out.append([_record(result, checkpoint, model_name(lvlm)) for result in results])
    return len(missing)


def _in_short(error: Exception) -> str:
    """An error's first line, with what it says of the reason if it is ours."""
    if isinstance(error, FusionscopeError):
        return f"{error.what} ({error.why.strip()})" if error.why else error.what
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), 'no message')}"


def merge(directory: Path) -> None:
    """Move the records of workers into ``records.jsonl``; nothing is lost if it is stopped between."""
    paths = RunDirectory(directory)
    for of_worker in paths.all_worker_records():
        RecordFile(paths.records).append(RecordFile(of_worker).read())
        of_worker.unlink()


def _record(result: Any, checkpoint: Checkpoint, model: str) -> Record:
    return to_record(
        result,
        run=checkpoint.run,
        run_name=checkpoint.run,
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
            f"{RunDirectory(directory).records} has records of {others[0]} under the name {checkpoint.run!r}, not of "
            f"{checkpoint.path}",
            "they would be taken for this model's",
            "give it another name or another --out; a relative path must be given from where it was given first",
        )


def _is_done(records: Sequence[Record], checkpoint: Checkpoint, task: HeldOutTask, spec: ProbeSpec) -> bool:
    """Whether all layers under all laws are there, measured in this way on this content."""
    place = (checkpoint.run, checkpoint.step, checkpoint.stage, task.name)
    of_task = [
        record
        for record in records
        if (record.run, record.step, record.stage, record.task) == place
        and record.fingerprints.get("task") == task.fingerprint
    ]
    if not of_task:
        return False
    design = spec.design_of(task)
    lens = "logit" if spec.lens is None else str(spec.lens)
    layers = _layers(spec.layers, of_task[0].n_layers)
    there = {(record.fingerprints.get("spec"), record.layer) for record in of_task}
    return all(
        (spec.fingerprint(design, law, lens), layer) in there
        for law in design.laws(task, spec.laws)
        for layer in layers
    )


def _layers(layers: str | int | Sequence[int], n_layers: int) -> set[int]:
    if isinstance(layers, str):
        return set(range(n_layers + 1)) if layers == "all" else {n_layers}
    numbers = (layers,) if isinstance(layers, int) else layers
    return {layer % (n_layers + 1) for layer in numbers}
