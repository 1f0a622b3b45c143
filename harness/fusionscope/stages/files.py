"""Checkpoint files that are whole or not there: written beside, hashed, and renamed in their own folder.

Lightning's own way goes through a copy in memory and a file in ``$TMPDIR``, which may be small, and is left there when
the process is killed.
"""

import errno
import hashlib
import os
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import Trainer

from fusionscope.errors import DataError, FusionscopeError, RunDirectoryError
from fusionscope.parallel import broadcast, is_main
from fusionscope.records.digests import Digest, newest_whole, note, verify

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class WholeFiles(TorchCheckpointIO):
    """Lightning's plugin for checkpoint files, on local disks; remote addresses are left to Lightning."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint, all or nothing, and its digest.

        Raises:
            RunDirectoryError: The disk is full, or the file cannot be written; what was there before is whole.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        save(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            DataError: It is torn or changed, or cannot be read.
        """
        check_whole(path)
        try:
            saved: dict[str, Any] = super().load_checkpoint(path, map_location or _to_cpu, weights_only)
        except Exception as error:  # whatever a torn pickle or archive makes of its reader
            raise unreadable(path, error) from error
        return saved


def prepare_files(trainer: Trainer) -> None:
    """Let a trainer write whole files; a plugin for checkpoint files that the user has chosen stays.

    Args:
        trainer: A trainer with its strategy.
    """
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeFiles()


def check_whole(path: str | os.PathLike[str] | None) -> None:
    """Refuse a checkpoint, or an export, that is torn or changed; every rank must call it, the first one reads.

    Args:
        path: The file or directory; None, or what does not exist here, is not looked at.

    Raises:
        DataError: It is not what was written; names the newest whole one.
    """
    if path is None or "://" in str(path):
        return
    error = broadcast(_error_of(Path(path)) if is_main() else None)
    if error is not None:
        raise error


def _error_of(path: Path) -> FusionscopeError | None:
    try:
        if path.exists():  # else whoever reads it says so
            verify(path)
    except DataError as error:
        whole = newest_whole(path.parent)
        return DataError(error.what, error.why, f"the newest whole checkpoint here is {whole}" if whole else error.fix)
    except OSError as error:
        return unreadable(path, error)
    return None


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint beside its place, hash it on the way, and rename it.

    Args:
        checkpoint: What `torch.save` takes.
        path: Its place.

    Raises:
        RunDirectoryError: See `WholeFiles`.
    """
    part = path.with_name(f".{path.name}.part")
    target = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            target = _Hashed(file)
            torch.save(checkpoint, target)  # type: ignore[arg-type]  # all that it needs of a file is `write`
            file.flush()
            os.fsync(file.fileno())
        note(path.parent, [Digest(file=path.name, bytes=target.written, sha256=target.digest.hexdigest())])
        os.replace(part, path)
        _sync(path.parent)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        cause = target.error if target is not None and target.error is not None else error
        if not isinstance(cause, OSError):
            raise
        raise unwritable(path, cause) from error


def unreadable(path: str | os.PathLike[str], error: Exception) -> FusionscopeError:
    """The error of a checkpoint that its reader chokes on.

    Args:
        path: The checkpoint.
        error: What the reader said.
    """
    if isinstance(error, FusionscopeError):
        return error
    said = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return DataError(
        f"{path} cannot be read: {said}",
        "it is no checkpoint, was torn, or was changed",
        "name another; `last.ckpt` and `previous.ckpt` can be resumed from, `step=*.ckpt` probed and exported",
    )


def _to_cpu(storage: Any, location: str) -> Any:
    return storage


def unwritable(path: Path, error: OSError) -> RunDirectoryError:
    """The error of a file or directory that could not be written.

    Args:
        path: What was to be written.
        error: Why it could not.
    """
    if error.errno in _FULL:
        return RunDirectoryError(
            f"{path} was not saved: the disk is full",
            "what was saved before is whole",
            "free some space and run the same command again, or save less often (schedule.every_n_steps)",
        )
    return RunDirectoryError(
        f"{path} was not saved: {error.strerror or error}",
        "what was saved before is whole",
        "make its folder writable and run the same command again",
    )


def _sync(folder: Path) -> None:
    """Put the names of a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Hashed:
    """A binary file that hashes what is written to it; torch hides the reason why a write failed, so it is kept."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.written = 0
        self.error: OSError | None = None

    def write(self, piece: Any) -> int:
        try:
            count = self._file.write(piece)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(piece)
        self.written += count
        return count

    def flush(self) -> None:
        self._file.flush()
