"""Attempts at a run: which records stand, and which a later start has retired.

A start that is not a resume records under a new attempt. So does a resume from a checkpoint that more was recorded
after: its attempt branches off its parent at the checkpoint's step. Records are never removed; readers follow one
branch, from the newest attempt that has records back through its parents, each up to where the next branches off.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from fusionscope.errors import DataError
from fusionscope.records.schema import SCHEMA, Record

KIND = "attempt"
"""What the line of an attempt has as its ``kind``; lines of records have none."""
ONLY = 1
"""Number of the attempt that records belong to whose file has no line of it: those of sweeps and of schema 1 and 2."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at a run; one line of ``records.jsonl``.

    Args:
        run: Identity of the run.
        attempt: Its number, from 1.
        parent: Number of the attempt that it branches off, or None where it began from nothing.
        from_step: Optimizer steps of the run up to which the parent's records stand; None without a parent.
        stage: Name of the stage that was started.
        stage_step: Optimizer steps of that stage which stand; None where the stage was begun anew.
        started: When, in UTC, as ISO 8601.
    """

    run: str
    attempt: int
    parent: int | None = None
    from_step: int | None = None
    stage: str = ""
    stage_step: int | None = None
    started: str = ""

    def keeps(self, record: Record) -> bool:
        """Whether a record of the parent stands.

        A stage's last step and the next stage's step 0 are the same step of the run: at the step where this attempt
        branches off, records of its own stage stand if that stage goes on, and the ends of earlier stages do.
        """
        if self.from_step is None or record.step != self.from_step:
            return self.from_step is not None and record.step < self.from_step
        return self.stage_step is not None if record.stage == self.stage else record.stage_step > 0

    def to_json(self) -> dict[str, Any]:
        """The attempt's line."""
        return {"kind": KIND, "schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Attempt":
        """The attempt of a line written by `to_json`.

        Raises:
            DataError: Another schema, or missing or unknown columns.
        """
        columns = {f.name for f in fields(cls)}
        values = {name: value for name, value in row.items() if name not in ("kind", "schema")}
        if row.get("schema") != SCHEMA or set(values) != columns:
            raise DataError(
                f"an attempt of schema {row.get('schema')!r} with the columns {', '.join(values)}",
                f"an attempt of schema {SCHEMA} has {', '.join(sorted(columns))}",
                "check that the file was written by this version of fusionscope",
            )
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class AttemptHistory:
    """What became of an attempt.

    Args:
        attempt: The attempt.
        records: How many it has.
        retired: How many of them do not stand any more.
        first_step, last_step: Optimizer steps of the run that its records span; None without records.
    """

    attempt: Attempt
    records: int
    retired: int
    first_step: int | None
    last_step: int | None


class Attempts:
    """The attempts at all runs of one record file.

    Args:
        lines: The attempts' lines.
        records: The records.
    """

    def __init__(self, lines: Iterable[Attempt], records: Sequence[Record]) -> None:
        self._records = records
        implied = dict.fromkeys((record.run, record.attempt) for record in records)
        attempts = {place: Attempt(run=place[0], attempt=place[1]) for place in implied}
        attempts |= {(line.run, line.attempt): line for line in lines}
        self._attempts = dict(sorted(attempts.items(), key=lambda item: item[0][1]))
        self._with_records = set(implied)

    def of(self, run: str) -> list[Attempt]:
        """A run's attempts by number."""
        return [attempt for attempt in self._attempts.values() if attempt.run == run]

    def standing(self) -> list[Record]:
        """The records of every run that stand, each where it was first written."""
        branches = {run: self._cuts(run, number) for run, number in self._newest().items()}
        return _latest(record for record in self._records if _stands(record, branches[record.run]))

    def branch(self, run: str, attempt: int) -> list[Record]:
        """The records that an attempt continues and its own.

        Args:
            run: Identity of the run.
            attempt: Number of the attempt.
        """
        cuts = self._cuts(run, attempt)
        return _latest(record for record in self._records if record.run == run and _stands(record, cuts))

    def number_at(self, run: str, step: int) -> int:
        """Number of the attempt in whose part of the standing branch a step lies."""
        numbers = self._newest()
        if run not in numbers:
            return ONLY
        number, cuts = numbers[run], self._cuts(run, numbers[run])
        reached = [n for n, later in cuts.items() if all(step <= (child.from_step or 0) for child in later)]
        return min(reached, default=number)

    def history(self) -> list[AttemptHistory]:
        """What became of every attempt, runs in the order in which they were first recorded."""
        kept = {record.key for record in self.standing()}
        return [self._history(place, kept) for place in sorted(self._attempts, key=self._order)]

    def _history(self, place: tuple[str, int], kept: set[tuple[Any, ...]]) -> AttemptHistory:
        records = [record for record in self._records if (record.run, record.attempt) == place]
        steps = [record.step for record in records]
        return AttemptHistory(
            attempt=self._attempts[place],
            records=len(records),
            retired=sum(record.key not in kept for record in records),
            first_step=min(steps, default=None),
            last_step=max(steps, default=None),
        )

    def _order(self, place: tuple[str, int]) -> tuple[int, int]:
        runs = list(dict.fromkeys(run for run, _ in self._attempts))
        return runs.index(place[0]), place[1]

    def _newest(self) -> dict[str, int]:
        """Of each run the newest attempt that has records: a start that recorded nothing retires nothing."""
        return {run: number for run, number in self._attempts if (run, number) in self._with_records}

    def _cuts(self, run: str, number: int) -> dict[int, list[Attempt]]:
        """The attempts of a branch by number, each with the attempts after it, which cut it off."""
        cuts: dict[int, list[Attempt]] = {}
        later: list[Attempt] = []
        at: int | None = number
        while at is not None and at not in cuts:
            cuts[at] = list(later)
            attempt = self._attempts.get((run, at))
            at = attempt.parent if attempt else None
            later += [attempt] if attempt else []
        return cuts


def _stands(record: Record, cuts: Mapping[int, Sequence[Attempt]]) -> bool:
    later = cuts.get(record.attempt)
    return later is not None and all(attempt.keeps(record) for attempt in later)


def _latest(records: Iterable[Record]) -> list[Record]:
    """Of a place that several attempts of a branch have probed the newest one's record, where the first was."""
    latest: dict[tuple[Any, ...], Record] = {}
    for record in records:
        other = latest.get(record.place)
        if other is None or other.attempt <= record.attempt:
            latest[record.place] = record
    return list(latest.values())
