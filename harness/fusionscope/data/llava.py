"""LLaVA's JSON and image folder, or a table of the hub, as a dataset that is mapped from disk."""

import json
import re
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import datasets
from PIL import Image
from torch.utils.data import Dataset

from fusionscope.errors import BadImageError, DataError
from fusionscope.tasks import open_image

_FEATURES = datasets.Features(
    {
        "id": datasets.Value("string"),
        "image": datasets.List(datasets.Value("string")),
        "conversations": datasets.List({"from": datasets.Value("string"), "value": datasets.Value("string")}),
    }
)
_CHUNK = 1 << 20
_GAP = re.compile(r"[\s,]*")


class LlavaJson(Dataset[dict[str, Any]]):
    """Conversations in LLaVA's format and the images that they name.

    A local file is converted to Arrow once, row by row, into the cache of `datasets`, and mapped from there: 665,298
    rows (LLaVA-1.5's mixture) take disk, not memory, however many processes and workers read them. A changed file is
    converted anew.

    Args:
        path: A JSON list or JSON lines, such as ``blip_laion_cc_sbu_558k.json``; or the name of a dataset on the hub
            with the columns ``conversations`` and, where there are images, ``image``.
        image_folder: Where image paths start; the file's own folder by default.
        split: Split of the dataset on the hub.
        cache_dir: Where the Arrow file goes; the cache of `datasets` by default.

    Raises:
        DataError: The file is not what it should be, with the row.
    """

    def __init__(
        self, path: str, image_folder: str | None = None, split: str = "train", cache_dir: str | None = None
    ) -> None:
        self.path = Path(path)
        self.image_folder = Path(image_folder) if image_folder is not None else self.path.parent
        local = self.path.suffix in (".json", ".jsonl")
        self.rows = _mapped(self.path, cache_dir) if local else _from_hub(path, split, cache_dir)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return opened(self.rows[index], f"{self.path} row {index}", self.image_folder)

    def lengths(self) -> list[int]:
        """Words of each conversation, negative where there is no image: LLaVA's measure for grouping."""
        columns = [name for name in ("image", "conversations") if name in self.rows.column_names]
        return [
            sum(len(turn["value"].split()) for turn in row["conversations"]) * (1 if row.get("image") else -1)
            for row in _undecoded(self.rows.select_columns(columns))
        ]


def opened(row: Mapping[str, Any], place: str, image_folder: Path) -> dict[str, Any]:
    """A row with its images opened.

    Args:
        row: ``image`` holds a path, an opened image, a list of them, or nothing.
        place: Where the row stands, for messages.
        image_folder: Where paths start.

    Raises:
        BadImageError: An image cannot be read.
    """
    named = row.get("image")
    if not named:
        return {**row, "image": None}
    given = named if isinstance(named, list) else [named]
    return {**row, "image": [_open(image, place, image_folder) for image in given]}


def _open(given: Any, place: str, image_folder: Path) -> Image.Image:
    name, file = _file(given, image_folder)
    try:
        return open_image(file, name)
    except BadImageError as error:
        raise BadImageError(
            f"{place}: {error.what}",
            f"images are looked for in {image_folder}",
            "set image_folder, restore the file, drop the row, or allow a few (LlavaDataModule's max_bad_images)",
        ) from error


def _file(given: Any, image_folder: Path) -> tuple[str, Path | BytesIO | Image.Image]:
    """An image's name, and what to open: of a path, of an open image, or of one that a table of the hub left closed."""
    if isinstance(given, Image.Image):
        return "in the row", given
    content, path = (given.get("bytes"), given.get("path")) if isinstance(given, Mapping) else (None, given)
    return str(path), BytesIO(content) if content else image_folder / str(path)


def _undecoded(rows: datasets.Dataset) -> datasets.Dataset:
    """Rows whose images, where the table holds them, are left closed."""
    columns = [name for name, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    for name in columns:
        rows = rows.cast_column(name, datasets.Image(decode=False))
    return rows


def _mapped(path: Path, cache_dir: str | None) -> datasets.Dataset:
    try:
        stat = path.stat()
        version = f"{stat.st_size}:{stat.st_mtime_ns}"
        rows = datasets.Dataset.from_generator(
            rows_of, _FEATURES, cache_dir, gen_kwargs={"path": str(path.resolve()), "version": version}
        )
    except OSError as error:
        raise DataError(f"{path}: {error}", "it must be a JSON list or JSON lines", "check the path") from error
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, DataError):
            raise error.__cause__ from None
        raise DataError(
            f"{path} cannot be converted: {error.__cause__}",
            "its rows are written to the cache of `datasets` before they are read",
            "free space there, or set cache_dir to another place",
        ) from error
    return rows


def _from_hub(name: str, split: str, cache_dir: str | None) -> datasets.Dataset:
    try:
        rows = datasets.load_dataset(name, split=split, cache_dir=cache_dir)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{name!r} is neither a .json or .jsonl file nor a dataset that can be loaded: {error}",
            "training data is a file in LLaVA's format or a dataset on the hub",
            "check the name, the split and the connection",
        ) from error
    if "conversations" not in rows.column_names:
        raise DataError(
            f"{name!r} has the columns {', '.join(rows.column_names)}",
            'a row is {"id", "image", "conversations": [{"from", "value"}, ...]}',
            "give a dataset in LLaVA's format",
        )
    return cast(datasets.Dataset, rows)


def rows_of(path: str, version: str = "") -> Iterator[dict[str, Any]]:
    """The rows of a file one by one, checked and brought to one type.

    LLaVA's own files mix strings and numbers in ``id``, and one path and lists of them in ``image``.

    Args:
        path: The file.
        version: Tells one content of the file from another, for caches.

    Raises:
        DataError: The file is no JSON list and no JSON lines, or a row is not in LLaVA's format.
    """
    read = _lines if path.endswith(".jsonl") else _items
    number = 0
    try:
        for row in read(path):
            yield _checked(row, f"{path} row {number}")
            number += 1
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} after row {number}: {error}", "it must be a JSON list or JSON lines", "check the file"
        ) from error
    if not number:
        raise DataError(f"{path} holds no rows", "it must be a list of conversations", "give a file in LLaVA's format")


def _checked(row: Any, place: str) -> dict[str, Any]:
    turns = row.get("conversations") if isinstance(row, Mapping) else None
    if not isinstance(turns, list):
        raise DataError(
            f"{place} has no list 'conversations'",
            'a row is {"id", "image", "conversations": [{"from", "value"}, ...]}',
            "give a file in LLaVA's format",
        )
    for turn in turns:
        if not isinstance(turn, Mapping) or not all(isinstance(turn.get(key), str) for key in ("from", "value")):
            raise DataError(f"{place} has the turn {turn!r}", 'a turn is {"from", "value"}, texts', "correct its row")
    named = row.get("image") or []
    return {
        "id": str(row.get("id", "without id")),
        "image": named if isinstance(named, list) else [named],
        "conversations": [{"from": turn["from"], "value": turn["value"]} for turn in turns],
    }


def _lines(path: str) -> Iterator[Any]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _items(path: str) -> Iterator[Any]:
    """The items of a JSON list, of which only a stretch is held in memory."""
    decoder, text, at, begun = json.JSONDecoder(), "", 0, False
    with open(path, encoding="utf-8") as file:
        while True:
            at = cast(re.Match[str], _GAP.match(text, at)).end()
            if at < len(text) and not begun:
                if text[at] != "[":
                    raise ValueError("it doesn't begin with '['")
                at, begun = at + 1, True
                continue
            if begun and text[at : at + 1] == "]":
                return
            try:
                item, at = decoder.raw_decode(text, at)
            except ValueError:
                more = file.read(_CHUNK)
                if not more:
                    raise
                text, at = text[at:] + more, 0
                continue
            yield item
