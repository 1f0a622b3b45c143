"""Pictures of a held-out task, opened when they are looked at."""

import base64
import binascii
import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from fusionscope.errors import ConfigError, DataError
from fusionscope.tasks.sources.archives import KINDS, Archive
from fusionscope.tasks.sources.row import Row

Opener = Callable[[], Image.Image]
# What Pillow and zipfile raise on broken files, which is more than OSError.
BROKEN = (
    OSError, ValueError, SyntaxError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile,
    Image.DecompressionBombError,
)  # fmt: skip
_URL = re.compile(r"^\s*(https?|s3|gs|ftp)://", re.IGNORECASE)
_DATA_URL = re.compile(r"^\s*data:image/[\w.+-]+;base64,", re.IGNORECASE)
_SHORT = 255


class Pictures(Sequence[Image.Image]):
    """A sequence of RGB pictures.

    Args:
        openers: What opens each, by its id.
    """

    def __init__(self, openers: Mapping[str, Opener]) -> None:
        self.names = list(openers)
        self.openers = list(openers.values())

    def __len__(self) -> int:
        return len(self.openers)

    def __getitem__(self, index: Any) -> Any:
        return read_picture(self.names[index], self.openers[index])


def read_picture(name: str, opener: Opener) -> Image.Image:
    """A picture as `rgb` shows it.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return rgb(opener())
    except BROKEN as error:
        raise DataError(
            f"picture {name!r} cannot be read: {error}",
            "it is no picture, or a broken one",
            "restore the file, or allow a few (bad_pictures)",
        ) from error


def rgb(image: Image.Image) -> Image.Image:
    """A picture as one sees it: upright (EXIF), transparent parts white, `eight_bits`, the first of several frames."""
    image = eight_bits(ImageOps.exif_transpose(image))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def eight_bits(image: Image.Image) -> Image.Image:
    """A picture with 8 bits a channel: of more, Pillow's own conversion makes all above 255 white.

    Sixteen bits are scaled to eight; 32-bit integers and floats are stretched from their least to their largest value.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        low, span = float(values.min()), float(np.ptp(values))
        grey = np.clip(values if span == 0 else (values - low) * (255 / span), 0, 255)
        return Image.fromarray(grey.round().astype(np.uint8))
    return image


class Finder:
    """Find a row's picture: a file of a folder, .zip or .tar file; base64 text, bytes or a picture of the hub.

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
        self._names: dict[bytes, str] = {}
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
                "set it to where the pictures are",
            )

    def of(self, row: Row, column: str, name: str = "", ending: str = "") -> tuple[str, Opener] | None:
        """A row's picture and its id, or None where it is missing. Equal contents get one id.

        Args:
            row: The row.
            column: Holds a file name, base64 text, bytes or a picture.
            name: Column of the id where the picture itself is in the row; a digest where there is none.
            ending: Added to a file name that lacks it, such as ``".jpg"``.

        Raises:
            ConfigError: The row names a file, and no folder is known.
            DataError: The row names an address on the net, or nothing.
        """
        value = row.values.get(column)
        if isinstance(value, Mapping) and not value.get("bytes"):
            value = value.get("path")  # a picture of the hub that lies beside its table
        if isinstance(value, str) and _URL.match(value):
            row.fail(column, "pictures are not fetched from the net", "download them and name the files")
        named = isinstance(value, str | int) and len(str(value)) <= _SHORT
        file = " ".join(str(value).split()) if named else ""
        file = file if file.lower().endswith(ending) else file + ending
        found = self.file(file) if file and file != ending else None
        if found is not None:
            return file, found
        content = _content(value)
        if content is not None:
            return self._name(content, row.optional(name)), lambda: Image.open(io.BytesIO(content))
        if isinstance(value, Image.Image):
            return self._name(value.tobytes(), row.optional(name)), lambda: value
        if not named or not str(value).strip():
            row.fail(column, "a file name, base64 text or a picture is needed here")
        if self.folder is None and not (isinstance(value, str) and Path(value).is_absolute()):
            raise ConfigError(
                f"{row.source} row {row.number} column {column!r} names the file {file[:80]!r}",
                "image_folder is not set, so nobody knows where it is",
                "set image_folder to where the pictures are",
            )
        return None

    def file(self, name: str) -> Opener | None:
        """What opens the picture of this file name, or None where there is no such file."""
        if self.archive is not None:
            read = self.archive.find(name)
            return None if read is None else lambda: Image.open(io.BytesIO(read()))
        places = self.places or ([Path("/")] if Path(name).is_absolute() else [])
        path = next((place / name for place in places if (place / name).is_file()), None)
        return None if path is None else lambda: _opened(path)

    def _name(self, content: bytes, name: str | None) -> str:
        """One id for equal contents, and another for a name that already stands for other contents."""
        digest = hashlib.blake2b(content, digest_size=8).digest()
        if digest not in self._names:
            clear = name if name is not None and name not in self._taken else f"{name or 'picture'} {digest.hex()}"
            self._names[digest] = clear
            self._taken.add(clear)
        return self._names[digest]


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


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
    return content if len(value) > _SHORT or _is_picture(content) else None


def _is_picture(content: bytes) -> bool:
    """Whether Pillow knows the kind: a file name of letters and digits alone is base64 text as well."""
    try:
        with Image.open(io.BytesIO(content)):
            return True
    except BROKEN:
        return False
