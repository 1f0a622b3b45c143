"""Where the records of a training that starts belong: which directory, which run, which attempt."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fusionscope.parallel import gather_work, is_main
from fusionscope.records.attempts import Attempt
from fusionscope.records.directory import RunDirectory
from fusionscope.records.file import RecordFile
from fusionscope.records.run import Run

_LEVELS = 3
"""A checkpoint lies at most this deep in a run's directory: RUN/STAGE/checkpoints/last.ckpt."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a checkpoint says of the records that were written while its weights were trained.

    Args:
        run: Identity of the run.
        attempt: Number of the attempt.
        directory: Where the run's directory was.
        board: Where its curves were drawn, as a path from that directory.
    """

    run: str
    attempt: int
    directory: str
    board: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any] | None) -> "Origin | None":
        """The origin of plain data that `to_json` made; None for None."""
        return None if row is None else cls(**row)


@dataclass(frozen=True, kw_only=True)
class Start:
    """A training that starts.

    Args:
        stage: Name of the stage.
        offset: Optimizer steps of the run's stages before this one.
        step: Optimizer steps of the stage that are done, in the checkpoint that it goes on from; None where it begins
            from nothing.
        origin: What that checkpoint says of its records; None where it says nothing.
        checkpoint: Where the checkpoint is, or None where that is not known.
        alongside: Whether another recorder of the same training has begun already, which the origin is of.
        moves: Whether the directory is a default, which the run's own one takes the place of wherever that is now.
    """

    stage: str
    offset: int = 0
    step: int | None = None
    origin: Origin | None = None
    checkpoint: str | os.PathLike[str] | None = None
    alongside: bool = False
    moves: bool = True


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the records of a training go.

    Args:
        directory: The run directory.
        run: Identity of the run.
        attempt: The attempt.
        outdated_after: Optimizer steps of the run after which curves drawn before are another attempt's, or are drawn
            again; -1 where all are, None where none are.
        note: What a person should know; empty where everything is as expected.
    """

    directory: RunDirectory
    run: str
    attempt: Attempt
    outdated_after: int | None
    note: str = ""

    def origin(self, board: str = "") -> Origin:
        """What checkpoints of this training say of its records.

        Args:
            board: Where its curves are drawn, as a path from the run directory.
        """
        directory = str(self.directory.path.resolve())
        return Origin(run=self.run, attempt=self.attempt.attempt, directory=directory, board=board)


def join(directory: str | os.PathLike[str], start: Start) -> Place:
    """Find the run and the attempt that a training goes on with, or open new ones.

    Every process must call it; the first one looks and writes, and all get its answer.

    Args:
        directory: Where the records of this training go, if its run is not found elsewhere.
        start: The training.
    """
    (place,) = gather_work(lambda: [_join(RunDirectory(directory), start)] if is_main() else [], sharded=False)
    return place


def _join(given: RunDirectory, start: Start) -> Place:
    run, note = _run(given, start)
    directory = RunDirectory(run.directory)
    file = RecordFile(directory.records)
    attempts = file.attempts(run.id)
    attempt = _continued(file, attempts, run.id, start)
    if attempt is None:
        attempt = _new(attempts, run.id, start)
        file.open_attempt(attempt)
        outdated = attempt.from_step if attempt.parent is not None else (-1 if attempts else None)
    else:
        outdated = None if start.step is None or start.alongside else start.offset + start.step
    return Place(directory=directory, run=run.id, attempt=attempt, outdated_after=outdated, note=note)


def _run(given: RunDirectory, start: Start) -> tuple[Run, str]:
    """The run that goes on, wherever it is now; else that of the directory, else a new one."""
    there, origin = Run.find(given), start.origin
    if origin is None:
        return there or Run(directory=given.path).save(), _unknown(given, start)
    if there is not None and there.id == origin.run:
        return there, ""
    moved = start.moves or (there is None and given.path.resolve() == Path(origin.directory))
    for directory in _candidates(given, start, origin) if moved else ():
        run = Run.find(directory) if _holds(directory, origin.run) else None
        if run is not None and run.id == origin.run:
            return run, f"goes on with the records in {directory}"
    where = f"the records of the run that the checkpoint belongs to were in {origin.directory}"
    if there is not None:
        return there, f"{where}, and {given} holds another run's: begins a new attempt at that run"
    return Run(directory=given.path, id=origin.run).save(), f"{where}, and are not in {given}: goes on without them"


def _unknown(given: RunDirectory, start: Start) -> str:
    if start.step is None or not given.records.exists():
        return ""
    return f"the checkpoint does not say which records it belongs to: begins a new attempt in {given}"


def _candidates(given: RunDirectory, start: Start, origin: Origin) -> Iterator[Path]:
    """Where a run may be now: around the checkpoint, where it was, or beside either under another name."""
    stored = Path(origin.directory)
    if start.checkpoint is not None:
        yield from Path(start.checkpoint).resolve().parents[:_LEVELS]
    yield stored
    for folder in dict.fromkeys((given.path.resolve().parent, stored.parent)):
        if os.access(folder, os.R_OK | os.X_OK):
            yield from sorted(path for path in folder.iterdir() if path.is_dir())


def _holds(directory: Path, run: str) -> bool:
    """Whether a directory, which may be anybody's, has a run file that names this run."""
    file = RunDirectory(directory).run
    return file.is_file() and os.access(file, os.R_OK) and run.encode() in file.read_bytes()


def _continued(file: RecordFile, attempts: Sequence[Attempt], run: str, start: Start) -> Attempt | None:
    """The newest attempt, where a training goes on at the end of all that it has recorded."""
    if not attempts or _parent(attempts, run, start) != attempts[-1].attempt:
        return None
    branch = _new(attempts, run, start)
    return attempts[-1] if all(map(branch.keeps, file.branch(run, attempts[-1].attempt))) else None


def _new(attempts: Sequence[Attempt], run: str, start: Start) -> Attempt:
    parent = _parent(attempts, run, start)
    return Attempt(
        run=run,
        attempt=max([parent or 0, *(attempt.attempt for attempt in attempts)]) + 1,
        parent=parent,
        from_step=None if parent is None else start.offset + (start.step or 0),
        stage=start.stage,
        stage_step=None if parent is None else start.step,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _parent(attempts: Sequence[Attempt], run: str, start: Start) -> int | None:
    """Number of the attempt that goes on; None where a training begins from nothing, or from nothing that is known."""
    if start.step is not None:
        return start.origin.attempt if start.origin is not None and start.origin.run == run else None
    return attempts[-1].attempt if attempts and start.offset else None
