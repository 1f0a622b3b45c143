"""Rows of training data in LLaVA's format, checked where they are read: what cannot be trained on is refused here.

``{"id": ..., "image": path or list of paths, "conversations": [{"from": "human", "value": "<image>\\nWhat?"}, ...]}``
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fusionscope.errors import DataError
from fusionscope.tasks.sources import json_rows

ROLES = ("system", "human", "gpt")
_OTHER_MEDIA = ("video", "videos", "audio", "audios")
_MARKS = ("<video>", "<audio>")
_FORM = 'a row is {"id", "image", "conversations": [{"from", "value"}, ...]}'


def rows_of(path: str, version: str = "") -> Iterator[dict[str, Any]]:
    """The rows of a file one by one, checked and brought to one type.

    LLaVA's own files mix strings and numbers in ``id``, and one path and lists of them in ``image``.

    Args:
        path: A JSON list or JSON lines.
        version: Tells one content of the file from another, for caches.

    Raises:
        DataError: The file is neither, or a row is not in LLaVA's format.
    """
    number = 0
    for number, row in json_rows(Path(path)):
        place = f"{path} row {number}"
        whole = checked(row, place)
        yield {**whole, "image": [_path(image, place) for image in whole["image"]]}
    if not number:
        raise DataError(f"{path} holds no rows", "it must be a list of conversations", "give a file in LLaVA's format")


def checked(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A row with nothing but what is trained on: ``id``, a list of images, and turns, a system turn first.

    Args:
        row: As the file has it; images may be named by ``image`` or ``images``, a system turn may stand in ``system``.
        place: File and row, for messages.

    Raises:
        DataError: It has no turns, a turn of somebody else, images named twice, or a video or audio.
    """
    for key in _OTHER_MEDIA:
        if row.get(key):
            raise DataError(f"{place} has {key} {row[key]!r}"[:300], "only images are trained on", "leave the row out")
    return {
        "id": str(row.get("id", "without id")),
        "image": _images(row, place),
        "conversations": [*_system(row, place), *_turns(row, place)],
    }


def _images(row: Mapping[str, Any], place: str) -> list[Any]:
    named = {key: row[key] for key in ("image", "images") if row.get(key)}
    if len(named) > 1:
        raise DataError(f"{place} has both image and images", "images are named once", "join them in one list")
    given: Any = next(iter(named.values()), [])
    images: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    for image in images:
        if isinstance(image, bool | int | float) or image is None or image == "":
            raise DataError(f"{place} has the image {image!r}", "an image has a path", "correct the row")
    return images


def _path(image: Any, place: str) -> str:
    """The path that names an image of a file of rows."""
    path = image.get("path") if isinstance(image, Mapping) and not image.get("bytes") else image
    if not isinstance(path, str) or not path:
        raise DataError(f"{place} has the image {image!r}"[:300], "an image is named by its path", "correct the row")
    return path


def _system(row: Mapping[str, Any], place: str) -> list[dict[str, str]]:
    text = row.get("system")
    if not text:
        return []
    if not isinstance(text, str):
        raise DataError(f"{place} has system {text!r}"[:300], "it is a text", "correct the row")
    return [{"from": "system", "value": text}]


def _turns(row: Mapping[str, Any], place: str) -> list[dict[str, str]]:
    turns = row.get("conversations")
    if not isinstance(turns, list):
        raise DataError(f"{place} has no list 'conversations'", _FORM, "give a file in LLaVA's format")
    for i, turn in enumerate(turns):
        if not isinstance(turn, Mapping) or not all(isinstance(turn.get(key), str) for key in ("from", "value")):
            raise DataError(f"{place} has the turn {turn!r}"[:300], 'a turn is {"from", "value"}, texts', "correct it")
        if turn["from"] not in ROLES or (turn["from"] == "system" and (i > 0 or row.get("system"))):
            raise DataError(
                f"{place}: turn {i} is from {turn['from']!r}",
                f"turns are from {', '.join(ROLES)}, the system's is one and comes first",
                "correct the row, or leave it out",
            )
        lines = turn["value"].strip().split("\n")
        mark = next((mark for mark in _MARKS if mark in (lines[0].strip(), lines[-1].strip())), None)
        if turn["from"] == "human" and mark:
            raise DataError(f"{place}: turn {i} shows {mark}", "only images are trained on", "leave the row out")
    return [{"from": turn["from"], "value": turn["value"]} for turn in turns]
