"""Pictures of a held-out task, opened when they are looked at."""

import base64
import binascii
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from fusionscope.data.tables import Row
from fusionscope.errors import ConfigError, DataError

Opener = Callable[[], Image.Image]


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
        try:
            return self.openers[index]().convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(
                f"picture {self.names[index]!r} cannot be read: {error}", "it is no picture", "restore the file"
            ) from error


class Finder:
    """Find a row's picture: a file below a folder, base64 text, bytes or a picture of the hub.

    Args:
        folder: Where the files are.
        below: Subfolders to look into as well.
    """

    def __init__(self, folder: str | None, below: Sequence[str] = ()) -> None:
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None and not self.folder.is_dir():
            raise ConfigError(f"image_folder={folder!r}", "there is no such folder", "set it to where the pictures are")
        self.places = [] if self.folder is None else [self.folder, *(self.folder / name for name in below)]

    def of(self, row: Row, column: str, name: str = "", ending: str = "") -> tuple[str, Opener] | None:
        """A row's picture and its id, or None where it is missing.

        Args:
            row: The row.
            column: Holds a file name, base64 text, bytes or a picture.
            name: Column of the id where the picture itself is in the row; the row's number where there is none.
            ending: Added to a file name that lacks it, such as ``".jpg"``.
        """
        value = row.values.get(column)
        held = self.value(value)
        if held is not None:
            return row.optional(name) or f"row {row.number}", held
        file = row.text(column)
        file = file if file.lower().endswith(ending) else file + ending
        found = self.file(file)
        return None if found is None else (file, found)

    def file(self, name: str) -> Opener | None:
        """What opens the picture of this file name, or None where there is no such file."""
        path = next((place / name for place in self.places if (place / name).is_file()), None)
        return None if path is None else lambda: _opened(path)

    def value(self, value: Any) -> Opener | None:
        """What opens the picture that a cell holds, or None where it holds none."""
        if isinstance(value, Image.Image):
            return lambda: value
        if isinstance(value, Mapping) and value.get("bytes"):
            return lambda: Image.open(io.BytesIO(value["bytes"]))
        if not isinstance(value, str) or len(value) < 32:
            return None
        try:
            content = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return None
        return lambda: Image.open(io.BytesIO(content))


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image
