"""LLaVA's JSON and image folder as a dataset."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset

from fusionscope.errors import DataError


class BadImageError(DataError):
    """A picture that is missing or cannot be read; `LlavaDataModule` may skip a few."""


class LlavaJson(Dataset[dict[str, Any]]):
    """Conversations from a JSON list (or JSON lines) and the images that they name.

    Args:
        path: The file, such as ``blip_laion_cc_sbu_558k.json``.
        image_folder: Where image paths start; the file's own folder by default.

    Raises:
        DataError: The file is not what it should be, with the row.
    """

    def __init__(self, path: str, image_folder: str | None = None) -> None:
        self.path = Path(path)
        self.image_folder = Path(image_folder) if image_folder is not None else self.path.parent
        self.rows = _read(self.path)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        named = row.get("image")
        if not named:
            return {**row, "image": None}
        names = named if isinstance(named, list) else [named]
        return {**row, "image": [self._open(index, name) for name in names]}

    def lengths(self) -> list[int]:
        """Words of each conversation, negative where there is no image: LLaVA's measure for grouping."""
        return [
            sum(len(str(turn.get("value", "")).split()) for turn in row["conversations"])
            * (1 if row.get("image") else -1)
            for row in self.rows
        ]

    def _open(self, index: int, name: str) -> Image.Image:
        try:
            with Image.open(self.image_folder / name) as image:
                return image.convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise BadImageError(
                f"{self.path} row {index}: image {name!r} cannot be read: {error}",
                f"images are looked for in {self.image_folder}",
                "set image_folder, restore the file, drop the row, or allow a few (LlavaDataModule's bad_images)",
            ) from error


def _read(path: Path) -> list[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        lines = path.suffix == ".jsonl"
        rows = [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}", "it must be a JSON list or JSON lines", "check the path") from error
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path} holds no rows", "it must be a list of conversations", "give a file in LLaVA's format")
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping) or not isinstance(row.get("conversations"), list):
            raise DataError(
                f"{path} row {i} has no list 'conversations'",
                'a row is {"id", "image", "conversations": [{"from", "value"}, ...]}',
                "give a file in LLaVA's format",
            )
    return rows
