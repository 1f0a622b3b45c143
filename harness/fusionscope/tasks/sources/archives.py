"""Images inside a .zip or .tar file, read without unpacking it."""

import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from fusionscope.errors import ConfigError, DataError

KINDS = (".zip", ".tar")


class Archive:
    """The members of a .zip or .tar file by name.

    Args:
        path: The file.

    Raises:
        ConfigError: A compressed .tar file, whose members cannot be read one by one.
        DataError: It is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.readers = _zip_members(path) if path.suffix.lower() == ".zip" else _tar_members(path)
        except (zipfile.BadZipFile, tarfile.TarError, OSError) as error:
            raise DataError(
                f"{path} cannot be read: {error}", f"it ends in {path.suffix}", "restore the file"
            ) from error
        self.by_base: dict[str, list[str]] = {}
        for name in self.readers:
            self.by_base.setdefault(PurePosixPath(name).name, []).append(name)

    def find(self, name: str) -> Callable[[], bytes] | None:
        """What reads a member: of this name, or, where there is none, the only one that ends in it.

        Raises:
            DataError: Several members end in the name.
        """
        name = PurePosixPath(name).as_posix().lstrip("/")
        if name in self.readers:
            return self.readers[name]
        ends = [end for end in self.by_base.get(PurePosixPath(name).name, ()) if f"/{end}".endswith(f"/{name}")]
        if len(ends) > 1:
            raise DataError(
                f"{self.path} has {len(ends)} members for {name!r}: {', '.join(ends[:4])}",
                "a name stands for one image",
                "unpack it and set image_folder to the folder that is meant",
            )
        return self.readers[ends[0]] if ends else None


def _zip_members(path: Path) -> dict[str, Callable[[], bytes]]:
    opened = _Zip(path)
    with zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
    return {name: lambda name=name: opened.read(name) for name in names}  # type: ignore[misc]


class _Zip:
    """A zip file that each process opens for itself: a file position shared after a fork would mix up members."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.process = -1
        self.archive: zipfile.ZipFile | None = None

    def read(self, name: str) -> bytes:
        if self.archive is None or self.process != os.getpid():
            self.process, self.archive = os.getpid(), zipfile.ZipFile(self.path)
        return self.archive.read(name)


def _tar_members(path: Path) -> dict[str, Callable[[], bytes]]:
    try:
        with tarfile.open(path, "r:") as archive:
            places = {info.name.removeprefix("./"): (info.offset_data, info.size) for info in archive if info.isfile()}
    except tarfile.ReadError as error:
        raise ConfigError(
            f"{path} is no plain .tar file: {error}", "members of a packed one cannot be read one by one", "unpack it"
        ) from error
    return {name: lambda place=place: _stretch(path, *place) for name, place in places.items()}  # type: ignore[misc]


def _stretch(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)
