"""Where the images of a data set are: a folder, an archive that stays packed, or any address that fsspec opens."""

import os
import tarfile
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from fusionscope.errors import BadImageError, ConfigError, DataError, MissingDependencyError
from fusionscope.tasks.sources.lazy import FileImage, ImageSource, MissingImage, StoredImage

_ARCHIVES = (".zip", ".tar")
MAX_STORED_BYTES = 256 * 2**20
"""Largest file that is read out of an archive or an address: a small archive may hold one that fills the memory."""


def image_folder(location: str, below: Sequence[str] = (), *, allow_outside: bool = False) -> "ImageFolder":
    """Where images are looked for by name.

    Args:
        location: A folder, a .zip or .tar file, or an address that fsspec opens (``s3://bucket/coco``,
            ``hf://datasets/owner/name/images``, ``zip://::s3://bucket/coco.zip``).
        below: Subfolders of a folder to look into as well.
        allow_outside: Whether a name may lead out of a folder: through ``..``, as an absolute path, or by a symbolic
            link.

    Raises:
        ConfigError: There is nothing of this name, or nothing whose files can be read one by one.
        DataError: It is a damaged archive.
        MissingDependencyError: fsspec lacks the package for this kind of address.
    """
    if "://" in location:
        return StoredFolder(url=location)
    path = Path(location).expanduser()
    if path.is_dir():
        return LocalFolder(root=path, below=tuple(below), allow_outside=allow_outside)
    if path.is_file() and path.suffix.lower() in _ARCHIVES:
        return StoredFolder(url=f"{path.suffix.lower()[1:]}://::{path.resolve()}", shown=str(path))
    raise ConfigError(
        f"image_folder={location!r}",
        f"there is no such folder, nor a {' or '.join(_ARCHIVES)} file of this name",
        "set it to where the images are",
    )


@dataclass(frozen=True, kw_only=True)
class LocalFolder:
    """A folder of this machine.

    Args:
        root: The folder.
        below: Subfolders to look into as well.
        allow_outside: Whether a name may lead out of it.
    """

    root: Path
    below: tuple[str, ...] = ()
    allow_outside: bool = False

    def find(self, name: str) -> ImageSource | None:
        """The image of this file name, or None where there is no such file.

        Raises:
            DataError: The name leads out of the folder.
        """
        places = (self.root, *(self.root / folder for folder in self.below))
        path = next((place / name for place in places if os.path.isfile(place / name)), None)
        return None if path is None else self._image(path, name)

    def image(self, name: str) -> ImageSource:
        """The image of this file name, which is not looked for before it is opened.

        Raises:
            DataError: The name leads out of the folder.
        """
        return self._image(self.root / name, name)

    def __str__(self) -> str:
        return str(self.root)

    @cached_property
    def _real_root(self) -> str:
        return os.path.realpath(self.root)

    def _image(self, path: Path, name: str) -> ImageSource:
        if "\0" in name:
            return MissingImage(name=name, where=str(self))
        if not self.allow_outside and not Path(os.path.realpath(path)).is_relative_to(self._real_root):
            raise DataError(
                f"image {name!r} leads out of {self.root}, to {os.path.realpath(path)}",
                "a file of rows should not reach other files than its images'",
                "set image_folder to a folder that holds them all, or allow_outside to true if you trust the file",
            )
        return FileImage(path=path, name=name)


@dataclass(frozen=True, kw_only=True)
class StoredFolder:
    """An archive or a folder elsewhere, read through fsspec.

    Args:
        url: What fsspec opens.
        shown: What messages call it; the address by default.
    """

    url: str
    shown: str = ""

    def __post_init__(self) -> None:
        _ = self._members

    def find(self, name: str) -> ImageSource | None:
        """The image of this name, or, where there is none, the only one that ends in it; None where there is none.

        Raises:
            DataError: Several end in the name.
        """
        name = PurePosixPath(name).as_posix().lstrip("/")
        if name in self._members:
            return self._image(name)
        ends = [end for end in self._by_base.get(PurePosixPath(name).name, ()) if f"/{end}".endswith(f"/{name}")]
        if len(ends) > 1:
            raise DataError(
                f"{self} has {len(ends)} files for {name!r}: {', '.join(ends[:4])}",
                "a name stands for one image",
                "unpack it and set image_folder to the folder that is meant",
            )
        return self._image(ends[0]) if ends else None

    def image(self, name: str) -> ImageSource:
        """The image of this name, or one that says it is missing when it is opened."""
        return self.find(name) or MissingImage(name=name, where=str(self))

    def __str__(self) -> str:
        return self.shown or self.url

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            BadImageError: It is larger than `MAX_STORED_BYTES`.
        """
        member, size = self._members[name]
        if size is not None and size > MAX_STORED_BYTES:
            raise BadImageError(
                f"image {name!r} in {self} is {size / 2**20:.0f} MiB large",
                f"at most {MAX_STORED_BYTES // 2**20} MiB are read into memory",
                "unpack it and set image_folder to its folder",
            )
        content: bytes = _filesystem(self.url)[0].cat_file(member)
        return content

    @cached_property
    def _members(self) -> Mapping[str, tuple[str, int | None]]:
        """The files' names in the file system and sizes, by name below the folder."""
        try:
            system, root = _filesystem(self.url)
            files: dict[str, dict[str, Any]] = system.find(root, detail=True)
        except ImportError as error:
            raise MissingDependencyError(
                f"image_folder={self!s} needs another package", str(error), "install it"
            ) from error
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{self} cannot be read: {error}", "images are read out of it", "restore it") from error
        except (tarfile.TarError, ValueError) as error:
            raise ConfigError(
                f"{self} is no plain .tar file and no address: {error}",
                "members of a compressed .tar file cannot be read one by one",
                "unpack it, or correct the address",
            ) from error
        if not files:
            raise ConfigError(f"image_folder={self!s}", "there are no files in it", "set it to where the images are")
        return {
            name.removeprefix(root).lstrip("/").removeprefix("./"): (name, info.get("size"))
            for name, info in files.items()
        }

    @cached_property
    def _by_base(self) -> Mapping[str, Sequence[str]]:
        names: dict[str, list[str]] = {}
        for name in self._members:
            names.setdefault(PurePosixPath(name).name, []).append(name)
        return names

    def _image(self, name: str) -> ImageSource:
        return StoredImage(read=_Reading(self, name), name=name)


ImageFolder = LocalFolder | StoredFolder


@dataclass(frozen=True)
class _Reading:
    """Reading one file of a folder, as something to call."""

    folder: StoredFolder
    name: str

    def __call__(self) -> bytes:
        return self.folder.read(self.name)


def _filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system of an address and the path in it.

    One for each process and thread: a file position that is shared, after a fork or between threads, mixes up members.
    """
    return _opened(url, os.getpid(), threading.get_ident())


@lru_cache(maxsize=64)
def _opened(url: str, process: int, thread: int) -> tuple[Any, str]:
    system, root = fsspec.core.url_to_fs(url)
    return system, str(root).rstrip("/")
