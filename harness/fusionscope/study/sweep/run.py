"""Probing after training: every checkpoint x task x specification, where records of it are missing or do not count."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fusionscope.errors import ConfigError, DataError, FusionscopeError
from fusionscope.lvlm import FeatureCache, weights_fingerprint
from fusionscope.probe import Execution, ProbeResult, ProbeSpec, model_name, probe, to_record
from fusionscope.records import Record, RecordFile, RunDirectory
from fusionscope.study.sweep.checkpoints import Checkpoint
from fusionscope.study.sweep.done import Done, Measurement, State, anew
from fusionscope.study.sweep.models import Models
from fusionscope.study.sweep.sources import Sources
from fusionscope.tasks import HeldOutTask, TaskSpec, load_tasks


class UnreadableCheckpointError(DataError):
    """A checkpoint that is torn, changed, not trusted, or of another base: it stops no other."""


def sweep(
    checkpoints: Sequence[Checkpoint],
    tasks: Sequence[str | TaskSpec | HeldOutTask],
    specs: Sequence[ProbeSpec],
    directory: Path,
    *,
    device: str = "cpu",
    dtype: str = "auto",
    trust: bool = False,
    worker: tuple[int, int] = (0, 1),
    keep_going: bool = False,
    execution: Execution = Execution(),  # noqa: B008 (frozen)
    say: Callable[[str], None] = lambda text: None,
) -> int:
    """Probe what has no records yet, and add it to ``records.jsonl``; may be stopped at any moment and run again.

    Records count where the content of the task, the weights of the model and the way of measuring are the same,
    wherever they lie. What does not count is measured anew, and said.

    Args:
        checkpoints: What to probe.
        tasks: Held-out tasks.
        specs: What to measure of each.
        directory: Where the records are.
        device: Where the models go.
        dtype: Dtype of Hugging Face models.
        trust: Import whatever class a checkpoint names, see `fusionscope.trust`.
        worker: This worker's number and how many there are: it takes every n-th checkpoint, with a file of its own.
        keep_going: Go on with the other checkpoints where one cannot be probed, and raise at the end; without it that
            holds for checkpoints that are torn or changed alone.
        execution: How to run.
        say: Called with a line for whatever happens.

    Returns:
        Number of probes made.

    Raises:
        ConfigError: No tasks, or checkpoints that failed and why, once the others are probed.
    """
    if not tasks:
        raise ConfigError("no task to probe", "a sweep needs at least one held-out task", "name one with --task")
    number, workers = worker
    paths = RunDirectory(directory)
    out = RecordFile(paths.records if workers == 1 else paths.worker_records(number))
    records = RecordFile(paths.records)
    done = Done(records.read() + (out.read() if workers > 1 else []))
    plan = [Measurement.of(task, spec) for task in load_tasks(tasks) for spec in specs]
    if execution.feature_cache is None:
        execution = replace(execution, feature_cache=FeatureCache())
    models = Models(device=device, dtype=dtype, trust=trust)
    prober = _Prober(
        models=models,
        sources=Sources(paths.sources),
        done=done,
        plan=plan,
        execution=execution,
        records=records,
        out=out,
        say=say,
    )
    made = 0
    failed: dict[str, str] = {}
    mine = checkpoints[number::workers]
    for i, checkpoint in enumerate(mine, start=1):
        try:
            probes = prober.probe(checkpoint)
        except Exception as error:  # whatever stops one model: a missing package is an ImportError
            if not keep_going and not isinstance(error, UnreadableCheckpointError):
                raise
            failed[checkpoint.path] = _in_short(error)
            say(f"[{i}/{len(mine)}] {checkpoint.name} failed: {failed[checkpoint.path]}")
            continue
        made += probes
        if probes:
            say(f"[{i}/{len(mine)}] {checkpoint.name} step {checkpoint.step}: {probes} probes")
    if failed:
        raise ConfigError(
            f"{len(failed)} of {len(mine)} checkpoints failed: "
            + "; ".join(f"{path}: {why}" for path, why in failed.items()),
            "the others were probed and their records are kept",
            "correct or leave out these and run the same command again",
        )
    return made


@dataclass(frozen=True, kw_only=True)
class _Prober:
    """Measures what is missing, one checkpoint after the other."""

    models: Models
    sources: Sources
    done: Done
    plan: Sequence[Measurement]
    execution: Execution
    records: RecordFile
    out: RecordFile
    say: Callable[[str], None]

    def probe(self, checkpoint: Checkpoint) -> int:
        """Measure what is not done of a checkpoint; each task's records are on the disk before the next begins."""
        source = self.sources.digest(checkpoint)
        known = self.sources.model_of(source, self.models.dtype)
        if known is not None and all(self.done.state(m, checkpoint, known).done for m in self.plan):
            return 0
        try:
            lvlm = self.models.load(checkpoint)
        except DataError as error:
            raise UnreadableCheckpointError(error.what, error.why, error.fix) from error
        with self.models.precision():
            model = weights_fingerprint([lvlm.model])
            if self.sources.digest(checkpoint) == source:  # else it was written while it was loaded
                self.sources.note(source, self.models.dtype, model)
            states = [(measurement, self.done.state(measurement, checkpoint, model)) for measurement in self.plan]
            missing = [(measurement, state) for measurement, state in states if not state.done]
            for line in _changes(missing):
                self.say(f"{checkpoint.name} step {checkpoint.step}: {line}")
            execution = self.execution.of_model(model)
            for measurement, state in missing:
                whole = anew(measurement, state, lvlm)
                spec = replace(whole.spec, max_bad_images=0)  # they are left out already
                results = probe(lvlm, whole.task, spec, execution=execution)
                attempt = self.records.attempt_at(checkpoint.run, checkpoint.step)
                self.out.append([_record(result, checkpoint, model_name(lvlm), attempt) for result in results])
        return len(missing)


def merge(directory: Path) -> None:
    """Move the records of workers into ``records.jsonl``; nothing is lost if it is stopped between."""
    paths = RunDirectory(directory)
    for of_worker in paths.all_worker_records():
        RecordFile(paths.records).append(RecordFile(of_worker).read(every=True))
        of_worker.unlink()


def _changes(missing: Sequence[tuple[Measurement, State]]) -> list[str]:
    """A line on each reason why records that are there do not count, with the tasks that are measured anew."""
    tasks: dict[str, dict[str, None]] = {}
    for measurement, state in missing:
        for reason in state.reasons:
            tasks.setdefault(reason, {})[measurement.task.name] = None
    return [f"{', '.join(names)} measured anew: {reason}" for reason, names in tasks.items()]


def _in_short(error: Exception) -> str:
    """An error's first line, with what it says of the reason if it is ours."""
    if isinstance(error, FusionscopeError):
        return f"{error.what} ({error.why.strip()})" if error.why else error.what
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), 'no message')}"


def _record(result: ProbeResult, checkpoint: Checkpoint, model: str, attempt: int) -> Record:
    return to_record(
        result,
        run=checkpoint.run,
        run_name=checkpoint.name,
        attempt=attempt,
        step=checkpoint.step,
        stage=checkpoint.stage,
        stage_step=checkpoint.stage_step,
        baseline=checkpoint.baseline,
        model=model,
    )
