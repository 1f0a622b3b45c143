"""Finding the image that a row names or holds."""

import base64
import binascii
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from fusionscope.errors import BadImageError, ConfigError
from fusionscope.tasks.sources.archives import KINDS, Archive
from fusionscope.tasks.sources.images import open_image
from fusionscope.tasks.sources.lazy import (
    DrawnImage,
    FileImage,
    ImageSource,
    StoredImage,
    digest_of_bytes,
    digest_of_pixels,
)
from fusionscope.tasks.sources.row import Row

_URL = re.compile(r"^\s*(https?|s3|gs|ftp)://", re.IGNORECASE)
_DATA_URL = re.compile(r"^\s*data:image/[\w.+-]+;base64,", re.IGNORECASE)
_SHORT = 255


@dataclass(frozen=True)
class _Given:
    """What is there already, as something to call."""

    value: Any

    def __call__(self) -> Any:
        return self.value


class Finder:
    """Find a row's image: a file of a folder, .zip or .tar file; base64 text, bytes or an image of the hub.

    Args:
        folder: Where the files are.
        below: Subfolders to look into as well.

    Raises:
        ConfigError: There is no such folder or file.
    """

    def __init__(self, folder: str | None, below: Sequence[str] = ()) -> None:
        self.folder = None if folder is None else Path(folder).expanduser()
        self.archive: Archive | None = None
        self.places: list[Path] = []
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        if self.folder is None:
            return
        if self.folder.is_file() and self.folder.suffix.lower() in KINDS:
            self.archive = Archive(self.folder)
        elif self.folder.is_dir():
            self.places = [self.folder, *(self.folder / name for name in below)]
        else:
            raise ConfigError(
                f"image_folder={folder!r}",
                f"there is no such folder, nor a {' or '.join(KINDS)} file of this name",
                "set it to where the images are",
            )

    def of(self, row: Row, column: str, name: str = "", ending: str = "") -> ImageSource | None:
        """A row's image, named by its file; or None where it is missing. Equal contents in cells are one image.

        Args:
            row: The row.
            column: Holds a file name, base64 text, bytes or an image.
            name: Column of the name where the image itself is in the row; a digest where there is none.
            ending: Added to a file name that lacks it, such as ``".jpg"``.

        Raises:
            ConfigError: The row names a file, and no folder is known.
            DataError: The row names an address on the net, or nothing.
        """
        value = row.values.get(column)
        if isinstance(value, Mapping) and not value.get("bytes"):
            value = value.get("path")  # an image of the hub that lies beside its table
        if isinstance(value, str) and _URL.match(value):
            row.fail(column, "images are not fetched from the net", "download them and name the files")
        named = isinstance(value, str | int) and len(str(value)) <= _SHORT
        file = " ".join(str(value).split()) if named else ""
        file = file if file.lower().endswith(ending) else file + ending
        image = self.file(file) if file and file != ending else None
        if image is not None:
            return image
        content = _content(value)
        if content is not None:
            unique = self._name(digest_of_bytes(content), row.optional(name))
            return StoredImage(read=_Given(content), name=unique)
        if isinstance(value, Image.Image):
            return DrawnImage(draw=_Given(value), name=self._name(digest_of_pixels(value), row.optional(name)))
        if not named or not str(value).strip():
            row.fail(column, "a file name, base64 text or an image is needed here")
        if self.folder is None and not (isinstance(value, str) and Path(value).is_absolute()):
            raise ConfigError(
                f"{row.source} row {row.number} column {column!r} names the file {file[:80]!r}",
                "image_folder is not set, so nobody knows where it is",
                "set image_folder to where the images are",
            )
        return None

    def file(self, name: str) -> ImageSource | None:
        """The image of this file name, or None where there is no such file."""
        if self.archive is not None:
            read = self.archive.find(name)
            return None if read is None else StoredImage(read=read, name=name)
        places = self.places or ([Path("/")] if Path(name).is_absolute() else [])
        path = next((place / name for place in places if (place / name).is_file()), None)
        return None if path is None else FileImage(path=path, name=name)

    def _name(self, digest: str, name: str | None) -> str:
        """One name for equal contents, and another for a name that already stands for other contents."""
        if digest not in self._names:
            clear = name if name is not None and name not in self._taken else f"{name or 'image'} {digest[:16]}"
            self._names[digest] = clear
            self._taken.add(clear)
        return self._names[digest]


def _content(value: Any) -> bytes | None:
    """The file that a cell holds as bytes or as base64 text, or None where it holds none."""
    if isinstance(value, Mapping):
        value = value.get("bytes")
    if isinstance(value, bytes):
        return value or None
    if not isinstance(value, str) or len(value) < 32:
        return None
    try:
        content = base64.b64decode("".join(_DATA_URL.sub("", value, count=1).split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if len(value) > _SHORT or _is_image(content) else None


def _is_image(content: bytes) -> bool:
    """Whether it opens: a file name of letters and digits alone is base64 text as well."""
    try:
        open_image(io.BytesIO(content), "")
    except BadImageError:
        return False
    return True
