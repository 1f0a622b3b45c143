"""Finding the image that a row names or holds."""

import base64
import binascii
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from fusionscope.errors import BadImageError, ConfigError, DataError
from fusionscope.tasks.sources.folder import image_folder
from fusionscope.tasks.sources.images import open_image
from fusionscope.tasks.sources.lazy import (
    DrawnImage,
    ImageSource,
    MissingImage,
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
    """Find a row's image: a file by name; base64 text, bytes or an image of the hub in the row itself.

    Args:
        folder: Where the files are; see `fusionscope.tasks.sources.folder.image_folder`.
        below: Subfolders to look into as well.
        allow_outside: Whether a name may lead out of the folder.

    Raises:
        ConfigError: There is no such folder or file.
    """

    def __init__(self, folder: str | None, below: Sequence[str] = (), *, allow_outside: bool = False) -> None:
        self.folder = None if folder is None else image_folder(folder, below, allow_outside=allow_outside)
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()

    def of(self, row: Row, column: str, name: str = "", ending: str = "") -> ImageSource:
        """A row's image, named by its file; one that is missing says so when it is opened.

        Equal contents in cells are one image.

        Args:
            row: The row.
            column: Holds a file name, base64 text, bytes or an image.
            name: Column of the name where the image itself is in the row; a digest where there is none.
            ending: Added to a file name that lacks it, such as ``".jpg"``.

        Raises:
            ConfigError: The row names a file, and no folder is known.
            DataError: The row names an address on the net, a file outside of the folder, or nothing.
        """
        value = row.values.get(column)
        if isinstance(value, Mapping) and not value.get("bytes"):
            value = value.get("path")  # an image of the hub that lies beside its table
        if isinstance(value, str) and _URL.match(value):
            row.fail(column, "images are not fetched from the net", "download them and name the files")
        named = isinstance(value, str | int) and not isinstance(value, bool) and len(str(value)) <= _SHORT
        file = str(value).strip() if named else ""
        file = file if not file or file.lower().endswith(ending) else file + ending
        image = self._file(row, column, file) if file else None
        if image is not None:
            return image
        content = _content(value)
        if content is not None:
            unique = self._name(digest_of_bytes(content), row.optional(name))
            return StoredImage(read=_Given(content), name=unique)
        if isinstance(value, Image.Image):
            digest = digest_of_pixels(open_image(value, "of a table"))
            return DrawnImage(draw=_Given(value), name=self._name(digest, row.optional(name)))
        if not file:
            row.fail(column, "a file name, base64 text or an image is needed here")
        if self.folder is None:
            raise ConfigError(
                f"{row.source} row {row.number} column {column!r} names the file {file[:80]!r}",
                "image_folder is not set, so nobody knows where it is",
                "set image_folder to where the images are",
            )
        return MissingImage(name=file, where=str(self.folder))

    def _file(self, row: Row, column: str, name: str) -> ImageSource | None:
        if self.folder is None:
            return None
        try:
            return self.folder.find(name)
        except DataError as error:
            raise DataError(
                f"{row.source} row {row.number} column {column!r}: {error.what}", error.why, error.fix
            ) from error

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
