"""SHA-256 digests beside files that are worth a month of computing: a torn or changed one is noticed before it is read.

A folder keeps them in ``digests.jsonl``, one line a file that was written there. A line is added before its file gets
its name, so that at every moment each whole file has one; files that replace each other keep the lines of all.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fusionscope.errors import DataError

FILE = "digests.jsonl"
_PIECE = 2**22
_verified: set[tuple[str, int, int, int]] = set()


@dataclass(frozen=True, kw_only=True)
class Digest:
    """What a file was when it was written.

    Args:
        file: Its path in the folder of the digests, with slashes.
        bytes: Its size.
        sha256: Hash of its content, hexadecimal.
    """

    file: str
    bytes: int
    sha256: str


def note(folder: Path, digests: Iterable[Digest]) -> None:
    """Add lines to a folder's digests; they are on the disk when it returns.

    Args:
        folder: The folder.
        digests: What was written there.
    """
    path = folder / FILE
    lines = "".join(json.dumps(asdict(digest)) + "\n" for digest in digests)
    whole = len(_whole_lines(path))
    try:
        with path.open("ab") as file:
            file.truncate(whole)
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        os.truncate(path, whole)
        raise


def renamed(folder: Path, old: str, new: str) -> None:
    """Let a file be known under the name that it is about to get.

    Args:
        folder: The folder.
        old: Its name; nothing happens where it has no digest.
        new: The name that it gets.
    """
    known = _read(folder).get(old)
    if known:
        note(folder, [replace(known[-1], file=new)])


def note_directory(folder: Path) -> None:
    """Write the digests of all files of a finished directory into it.

    Args:
        folder: The directory.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FILE)
    (folder / FILE).unlink(missing_ok=True)
    note(folder, [digest_of(path, folder) for path in files])


def digest_of(path: Path, folder: Path) -> Digest:
    """The digest of a file as it is now.

    Args:
        path: The file.
        folder: The folder of its digests.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return Digest(file=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=digest.hexdigest())


def verify(path: Path) -> bool:
    """Check a file, or every file of a directory, against its digest; once per process and state of the file.

    Args:
        path: A file whose digest is in its folder, or a directory that holds the digests of its own files.

    Returns:
        False where there is no digest of it, as of a file that was copied alone.

    Raises:
        DataError: It is missing, torn or changed, or the digests cannot be read.
    """
    if path.is_dir():
        known = _read(path)
        for name, digests in known.items():
            _check(path / name, digests)
        return bool(known)
    known = _read(path.parent)
    if path.name not in known:
        return False
    # any of them: a process may have died between giving a file its digest and giving it its name
    _check(path, [*reversed(known.pop(path.name)), *(digest for digests in known.values() for digest in digests)])
    return True


def verified_before(path: Path) -> None:
    """Take a file for verified: the process that started this one has just done it.

    Args:
        path: A file, or a directory of files.
    """
    files = [path] if path.is_file() else [path / name for name in _read(path)]
    _verified.update(_state(file) for file in files if file.is_file())


def newest_whole(folder: Path, pattern: str = "*.ckpt") -> Path | None:
    """The newest file or directory of a folder whose digests are right, or None.

    Args:
        folder: The folder.
        pattern: Which names count.
    """
    for path in sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            if verify(path):
                return path
        except DataError:
            continue
    return None


def _check(path: Path, digests: list[Digest]) -> None:
    """Refuse a file that is none of what was written; ``digests`` begins with the newest of its name."""
    if not path.is_file():
        raise DataError(f"{path} is missing", f"{path.parent / FILE} lists it", "copy the whole directory again")
    state = _state(path)
    if state in _verified:
        return
    size = path.stat().st_size
    if size not in {digest.bytes for digest in digests}:
        said = f"{path} has {size:,} bytes, {digests[0].bytes:,} were written"
        raise DataError(said, "it was torn, or changed since", "use another checkpoint, or copy it again")
    if digest_of(path, path.parent).sha256 not in {digest.sha256 for digest in digests}:
        raise DataError(
            f"{path} is not what was written: its SHA-256 differs from that in {FILE}",
            "its bytes have changed on the disk or on the way",
            "use another checkpoint, or copy it again",
        )
    _verified.add(state)


def _state(path: Path) -> tuple[str, int, int, int]:
    """What changes when a file is written again."""
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino


def _read(folder: Path) -> dict[str, list[Digest]]:
    """The digests of a folder by file, in the order in which they were written."""
    path = folder / FILE
    known: dict[str, list[Digest]] = {}
    for number, line in enumerate(_whole_lines(path).splitlines(), start=1):
        try:
            digest = Digest(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{path} line {number} cannot be read: {error}",
                "it holds one JSON object a line: file, bytes, sha256",
                "copy it again, or delete it if you trust the files beside it",
            ) from error
        known.setdefault(digest.file, []).append(digest)
    return known


def _whole_lines(path: Path) -> bytes:
    """What was written to its end; a last line without one is of a file that never got its name."""
    content = path.read_bytes() if path.is_file() else b""
    return content[: content.rfind(b"\n") + 1]
