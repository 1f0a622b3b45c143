"""One owner per run directory: two processes that train in one would write every record twice."""

import fcntl
import json
import os
import socket
import warnings
from datetime import UTC, datetime
from errno import EACCES, EAGAIN
from types import TracebackType
from typing import Any, Self

from fusionscope.errors import RunDirectoryError
from fusionscope.records.directory import RunDirectory


class RunLock:
    """Holds a run directory until it is left, or the process and those that inherited the lock have died.

    The lock is the kernel's (``flock``) and cannot stay behind; the file says who holds it, or who held it last.

    Args:
        directory: The run directory; created where missing.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.path = RunDirectory(directory).lock
        self.left_by = ""
        self._file: int | None = None

    def __enter__(self) -> Self:
        """Take the lock; `left_by` says who ended before without leaving it.

        Raises:
            RunDirectoryError: Another process holds it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            if error.errno in (EACCES, EAGAIN):
                raise self._taken() from error
            warnings.warn(
                f"{self.path.parent}: this file system has no locks ({error.strerror}); a second process that trains "
                "here would not be noticed",
                stacklevel=2,
            )
            return self
        self._file = file
        self.left_by = _described(os.pread(file, 4096, 0))
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": datetime.now(UTC).isoformat("T", "seconds")}
        self._write(json.dumps(owner).encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._write(b"")
            os.close(self._file)
            self._file = None

    @property
    def descriptor(self) -> int | None:
        """The open file, for a child process to inherit: the lock holds until that is gone too."""
        return self._file

    def _write(self, text: bytes) -> None:
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text, 0)

    def _taken(self) -> RunDirectoryError:
        owner = _described(self.path.read_bytes()) or "another process"
        return RunDirectoryError(
            f"{self.path.parent} is in use by {owner}",
            "two processes in one run directory would write every record and checkpoint twice",
            "wait for it or stop it (kill PID saves first), or choose another directory with --run-dir",
        )


def _described(text: bytes) -> str:
    """An owner in words, or "" where the file names none."""
    try:
        owner: Any = json.loads(text)
        return f"process {owner['pid']} on {owner['host']} (since {owner['since']})"
    except (ValueError, TypeError, KeyError):
        return ""
