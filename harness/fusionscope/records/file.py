"""Records as JSON lines: appended safely, read in spite of a torn last line."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from fusionscope.errors import DataError, RunDirectoryError
from fusionscope.records.directory import RunDirectory
from fusionscope.records.schema import Record


class RecordFile:
    """The source of truth of a run: one JSON object a line, only ever appended to.

    A write that is cut short can leave half a line, always the last. Reading passes over it; the next append cuts it
    off first. Where two lines have the same key, the later one holds: a resumed run probes some steps again.

    Args:
        path: The file; it and its folder are made by the first append.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def append(self, records: Iterable[Record]) -> None:
        """Add records and wait until they are on the disk."""
        text = "".join(json.dumps(record.to_json(), allow_nan=False) + "\n" for record in records)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            if not _ends_whole(file):
                file.truncate(_length_of_whole_lines(self.path))
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[Record]:
        """All records in the order of their first writing, the latest of each key; [] where there is no file.

        Raises:
            DataError: A whole line that is no record; names the file and the line.
        """
        if not self.path.exists():
            return []
        latest: dict[tuple[object, ...], Record] = {}
        whole = self.path.read_bytes()[: _length_of_whole_lines(self.path)]
        for number, line in enumerate(whole.decode().splitlines(), start=1):
            try:
                record = Record.from_json(json.loads(line))
            except (ValueError, TypeError) as error:
                raise DataError(
                    f"{self.path}, line {number}: {error}",
                    "every line must be one record",
                    "restore the line or delete it; the other lines are kept as they are",
                ) from error
            latest[record.key] = record
        return list(latest.values())


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


def _ends_whole(file: BinaryIO) -> bool:
    """Whether a file is empty or ends with a line's end; reads one byte, however long the run's records are."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _length_of_whole_lines(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1
