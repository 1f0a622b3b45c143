"""One's own task from a JSON lines file of (image, question, options, answer)."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from fusionscope.errors import ConfigError
from fusionscope.tasks.assemble import ALPHABET, Item, Source, lettered, natural_task, unique
from fusionscope.tasks.sources.finder import Finder
from fusionscope.tasks.sources.row import Row
from fusionscope.tasks.sources.tables import read
from fusionscope.tasks.task import HeldOutTask, Question


def load(
    variant: str = "",
    *,
    path: str,
    image_folder: str | None = None,
    crossable: bool = False,
    ending: str = "",
    citation: str = "",
    licence: str = "",
    n: int | None = None,
    seed: int = 0,
    split: str = "test",
    max_bad_images: int = 0,
) -> HeldOutTask:
    """Load a task of one's own.

    A line is ``{"image": "a.png", "question": "Is it red?", "options": ["yes", "no"], "answer": "yes"}``. ``options``
    is a list, ``{"A": "yes", "B": "no"}``, or either written as a JSON text (in a table). ``answer`` is an option's
    text, its place from 0, or its letter. Where all lines have the same options in the same order, Y is the answer
    itself and the options are not shown; else they are shown with letters, and Y is the letter.

    Args:
        variant: Name of the task in records; the file's name by default.
        path: The file: JSON lines or a JSON list, CSV, TSV or Parquet; or a table of the hub.
        image_folder: Where the images are, a folder or a .zip or .tar file; the file's own folder by default.
        crossable: Whether every question makes sense with every image (you know; nothing is guessed).
        ending: Last line of the user's turn.
        citation: How to cite it.
        licence: Its licence.
        n: Number of lines, drawn without replacement.
        seed: Seed of the draw.
        split: Split on the hub.
        max_bad_images: Maximum number of images that cannot be read and are left out (reads them all); by default the
            first one fails when it is opened.

    Raises:
        ConfigError: A task with letters is to be crossed.
        DataError: A line is not as described, or has another number of options than the first.
    """
    rows = read(path, ("image", "question", "options", "answer"), split=split)
    first = options_of(rows[0])
    every = [_as_many(row, options_of(row), first) for row in rows]
    shared = all(options == first for options in every)
    if crossable and not shared:
        raise ConfigError(
            "crossable=True with options that differ between lines",
            "crossing needs answers that mean the same for every question",
            "give every line the same options, or set crossable to false",
        )
    local = Path(path).expanduser()
    finder, dropped = Finder(image_folder or (str(local.parent) if local.is_file() else None)), Counter[str]()
    items = []
    for row, options in zip(rows, every, strict=True):
        image = finder.of(row, "image")
        question = _plain(row, options, ending) if shared else lettered(row.body("question"), options, ending)
        if image is None:
            dropped["image missing"] += 1
        else:
            items.append(Item(image=image, question=question, answer=answer_of(row, options)))
    return natural_task(
        f"custom/{variant or local.stem}",
        unique(items, dropped),
        first if shared else ALPHABET[: len(first)],
        Source(citation=citation, licence=licence),
        crossable=crossable,
        dropped=dropped,
        n=n,
        seed=seed,
        max_bad_images=max_bad_images,
    )


def options_of(row: Row) -> list[str]:
    """The options of a line.

    Raises:
        DataError: They are no list of 2 to 26 different texts, nor letters with such texts.
    """
    options = _unpacked(row.values["options"])
    if isinstance(options, dict) and [str(key).strip().upper() for key in options] == list(ALPHABET[: len(options)]):
        options = list(options.values())
    plain = isinstance(options, list) and all(isinstance(option, str | int | float) for option in options)
    texts = [str(option).strip() for option in options] if plain else []
    if not 2 <= len(texts) <= len(ALPHABET) or len({text.lower() for text in texts}) < len(texts) or "" in texts:
        row.fail(
            "options",
            'it is a list of 2 to 26 different texts, or {"A": text, "B": text, ...}',
            'write {"options": ["yes", "no"]}',
        )
    return texts


def answer_of(row: Row, options: list[str]) -> int:
    """Place of the right option: its text, its place from 0 (a number) or its letter.

    Raises:
        DataError: It is none of them, or it is a number that is one option's text and another one's place.
    """
    value = row.values["answer"]
    number = isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    text = (row.verbatim("answer") or "").strip()
    known = [option.lower() for option in options]
    if number and text in known:
        if known.index(text) != int(value):
            row.fail(
                "answer",
                f"it is the text of one option and the place of another of {options}",
                "write the text as a text",
            )
        return int(value)
    if number and 0 <= int(value) < len(options):
        return int(value)
    if text.upper() in ALPHABET[: len(options)] and text.lower() not in known:
        return ALPHABET.index(text.upper())
    return row.choice("answer", options)


def _as_many(row: Row, options: list[str], first: list[str]) -> list[str]:
    if len(options) != len(first):
        row.fail("options", f"the first line has {len(first)}; all lines of a task have as many", "correct the row")
    return options


def _unpacked(value: Any) -> Any:
    """A JSON text as what it says; anything else as it is."""
    if not isinstance(value, str) or not value.strip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _plain(row: Row, options: list[str], ending: str) -> Question:
    text = f"{row.body('question')}\n{ending}".strip()
    return Question(text=text, candidates=tuple(options), blanked=ending or None)
