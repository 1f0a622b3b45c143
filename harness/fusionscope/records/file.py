"""Records as JSON lines: appended safely, read in spite of a torn last line."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from fusionscope.errors import DataError, RunDirectoryError
from fusionscope.records.attempts import KIND, Attempt, AttemptHistory, Attempts
from fusionscope.records.directory import RunDirectory
from fusionscope.records.schema import Record

_TAIL = 4096
"""Bytes by which a file is known again; a record takes half as many."""


class RecordFile:
    """The source of truth of a run: one JSON object a line, a record or an attempt, only ever appended to.

    A write that is cut short can leave half a line, always the last. Reading passes over it; the next append cuts it
    off first. Where two lines have the same key, the later one holds: a resumed run probes some steps again. Lines are
    read once: reading again parses only what was added.

    Args:
        path: The file; it and its folder are made by the first append.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._forget()

    def append(self, records: Iterable[Record]) -> None:
        """Add records and wait until they are on the disk."""
        self._append([record.to_json() for record in records])

    def open_attempt(self, attempt: Attempt) -> None:
        """Add an attempt and wait until it is on the disk."""
        self._append([attempt.to_json()])

    def read(self, *, every: bool = False) -> list[Record]:
        """The records of every run in the order of their first writing, the latest of each key.

        Args:
            every: Read those of retired attempts too; otherwise those that stand, which are the records of the newest
                attempt and what it continues.

        Returns:
            The records; [] where there is no file.

        Raises:
            DataError: A whole line that is neither record nor attempt; names the file and the line.
        """
        attempts = self._attempts()
        return list(self._records.values()) if every else attempts.standing()

    def branch(self, run: str, attempt: int) -> list[Record]:
        """The records that an attempt continues and its own; see `read`.

        Args:
            run: Identity of the run.
            attempt: Number of the attempt.
        """
        return self._attempts().branch(run, attempt)

    def attempts(self, run: str) -> list[Attempt]:
        """A run's attempts by number; see `read`."""
        return self._attempts().of(run)

    def attempt_at(self, run: str, step: int) -> int:
        """Number of the attempt to which records of a run at a step of it belong that are added afterwards."""
        return self._attempts().number_at(run, step)

    def history(self) -> list[AttemptHistory]:
        """What became of every attempt: how many records it has, and how many of them a later one has retired."""
        return self._attempts().history()

    def _append(self, rows: Sequence[dict[str, Any]]) -> None:
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            if not ends_whole(file):
                file.truncate(_length_of_whole_lines(self.path))
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def _attempts(self) -> Attempts:
        self._read_on()
        return Attempts(self._lines, list(self._records.values()))

    def _forget(self) -> None:
        self._records: dict[tuple[Any, ...], Record] = {}
        self._lines: list[Attempt] = []
        self._position = 0
        self._number = 0
        self._tail = b""
        self._inode = 0

    def _read_on(self) -> None:
        """Take in the whole lines that were added since the last time."""
        if not self.path.exists():
            self._forget()
            return
        with self.path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            if inode != self._inode or not self._goes_on(file):
                self._forget()
                file.seek(0)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self._number += 1
            self._take(line)
        self._position += len(whole)
        self._tail = (self._tail + whole)[-_TAIL:]
        self._inode = inode

    def _goes_on(self, file: BinaryIO) -> bool:
        """Whether a file still holds what was read of it; leaves it at the place where that ends."""
        file.seek(self._position - len(self._tail))
        return file.read(len(self._tail)) == self._tail

    def _take(self, line: bytes) -> None:
        try:
            row = json.loads(line.decode("utf-8"))  # of bytes, json would guess UTF-16 and let surrogates pass
            json.dumps(row, ensure_ascii=False).encode("utf-8")  # nor are escaped ones any text
            if isinstance(row, dict) and row.get("kind") == KIND:
                attempt = Attempt.from_json(row)
                hash(attempt)
                self._lines.append(attempt)
            else:
                record = Record.from_json(row)
                self._records[record.key] = record
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            what = f"{self.path}, line {self._number}: {error}"
            self._forget()
            raise DataError(
                what,
                "every line must be one record or one attempt",
                "restore the line or delete it; the other lines are kept as they are",
            ) from error


def read_records(directory: Path) -> list[Record]:
    """The records of a run directory.

    Raises:
        RunDirectoryError: None there.
    """
    records = RecordFile(RunDirectory(directory).records).read()
    if not records:
        raise RunDirectoryError(
            f"{directory} holds no records",
            "a report and curves are drawn from records.jsonl",
            "give the directory of a run that PIDCallback or `fusionscope probe` wrote records of",
        )
    return records


def ends_whole(file: BinaryIO) -> bool:
    """Whether a file is empty or ends with a line's end; reads one byte, however long the run's records are."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _length_of_whole_lines(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1
