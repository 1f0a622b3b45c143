"""One's own task from a file or table of images, questions, options and answers."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusionscope.errors import ConfigError
from fusionscope.tasks.assemble import ALPHABET, Item, Source, lettered, natural_task, unique, with_ending
from fusionscope.tasks.sources.finder import Finder
from fusionscope.tasks.sources.row import Row
from fusionscope.tasks.sources.tables import read
from fusionscope.tasks.task import HeldOutTask, Question

COLUMNS = ("image", "question", "options", "answer", "id")


def load(
    variant: str = "",
    *,
    path: str,
    image_folder: str | None = None,
    columns: Mapping[str, str] | None = None,
    options: Sequence[str] | Mapping[str, str] | None = None,
    crossable: bool = False,
    ending: str = "",
    citation: str = "",
    licence: str = "",
    n: int | None = None,
    seed: int = 0,
    split: str = "test",
    max_bad_images: int = 0,
    allow_outside: bool = False,
) -> HeldOutTask:
    """Load a task of one's own.

    A row is ``{"image": "a.png", "question": "Is it red?", "options": ["yes", "no"], "answer": "yes"}``. ``options``
    is a list, ``{"A": "yes", "B": "no"}``, or either written as a JSON text (in a table). ``answer`` is an option's
    text, its place from 0, or its letter. Where all rows have the same options in the same order, Y is the answer
    itself and the options are not shown; else they are shown with letters, and Y is the letter.

    Args:
        variant: Name of the task in records; the file's name by default.
        path: The file: JSON lines or a JSON list, CSV, TSV or Parquet; a folder of Parquet files; or a table of the hub
            (``"hub:owner/name"``).
        image_folder: Where the images are: a folder, a .zip or .tar file, or an address that fsspec opens; the file's
            own folder by default. Images may be in the table itself as well.
        columns: What the file calls its columns, by what they are: ``image``, ``question``, ``options``, ``answer``,
            and ``id``, which names images that are in the table itself.
        options: The options of all rows, for a file that has no column of them.
        crossable: Whether every question makes sense with every image (you know; nothing is guessed).
        ending: Last line of the user's turn, which is not added again to a question that ends with it.
        citation: How to cite it.
        licence: Its licence.
        n: Number of images, drawn without replacement, each with all of its questions.
        seed: Seed of the draw.
        split: Split of a folder of Parquet files or on the hub.
        max_bad_images: Maximum number of images that are left out because they are missing or cannot be read (opens
            all); by default none may be missing, and the first that is broken fails when it is opened.
        allow_outside: Whether names of images may lead out of ``image_folder`` (``..``, absolute, symbolic links).

    Raises:
        ConfigError: A task with letters is to be crossed, or columns are named that there are none of.
        DataError: A row is not as described, or has another number of options than the first.
    """
    names = _names(columns)
    given = None if options is None else _checked_options(options)
    needed = [names[key] for key in ("image", "question", "answer", *(("options",) if given is None else ()))]
    rows = read(path, needed, split=split, optional=(names["id"],))
    first = given or options_of(rows[0], names["options"])
    every = [given or _as_many(row, names["options"], first) for row in rows]
    shared = all(texts == first for texts in every)
    if crossable and not shared:
        raise ConfigError(
            "crossable=True with options that differ between lines",
            "crossing needs answers that mean the same for every question",
            "give every line the same options, or set crossable to false",
        )
    local = Path(path).expanduser()
    folder = image_folder or (str(local.parent) if local.is_file() else None)
    finder, dropped = Finder(folder, allow_outside=allow_outside), Counter[str]()
    items = []
    for row, texts in zip(rows, every, strict=True):
        image = finder.of(row, names["image"], name=names["id"])
        body = row.body(names["question"])
        question = _plain(body, texts, ending) if shared else lettered(body, texts, ending)
        items.append(Item(image=image, question=question, answer=answer_of(row, texts, names["answer"])))
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


def _names(columns: Mapping[str, str] | None) -> dict[str, str]:
    """What the file calls each of `COLUMNS`."""
    if columns is not None and not isinstance(columns, Mapping):
        raise ConfigError(f"columns={columns!r}", "it is a mapping", "write {question: name of the column, ...}")
    given = dict(columns or {})
    if unknown := set(given) - set(COLUMNS):
        raise ConfigError(
            f"columns names {', '.join(map(repr, sorted(map(str, unknown))))}",
            f"a task is read from {', '.join(COLUMNS)}",
            "write what the column is, then what the file calls it: {question: my_question}",
        )
    names = {key: given.get(key, key) for key in COLUMNS}
    if not all(isinstance(name, str) and name for name in names.values()) or len(set(names.values())) < len(names):
        raise ConfigError(f"columns={given!r}", "each is the name of one column", "correct the names")
    return names


def _checked_options(options: Any) -> list[str]:
    texts = _texts(options)
    if texts is None:
        raise ConfigError(f"options={options!r}", _OPTIONS, "write [red, blue]; words that YAML reads go in quotes")
    return texts


_OPTIONS = 'they are a list of 2 to 26 different texts, or {"A": text, "B": text, ...}'


def options_of(row: Row, column: str = "options") -> list[str]:
    """The options of a row.

    Args:
        row: The row.
        column: Where they stand.

    Raises:
        DataError: They are no list of 2 to 26 different texts, nor letters with such texts.
    """
    texts = _texts(_unpacked(row.values[column]))
    if texts is None:
        row.fail(column, _OPTIONS, 'write {"options": ["yes", "no"]}')
    return texts


def _texts(options: Any) -> list[str] | None:
    """The options as texts, or None where they are none."""
    if isinstance(options, Mapping):
        if [str(key).strip().upper() for key in options] != list(ALPHABET[: len(options)]):
            return None
        options = list(options.values())
    if not isinstance(options, list | tuple):
        return None
    if any(isinstance(option, bool) or not isinstance(option, str | int | float) for option in options):
        return None
    texts = [str(option).strip() for option in options]
    different = len({text.lower() for text in texts})
    return texts if 2 <= len(texts) <= len(ALPHABET) and different == len(texts) and "" not in texts else None


def answer_of(row: Row, options: Sequence[str], column: str = "answer") -> int:
    """Place of the right option: its text, its place from 0 (a number) or its letter.

    Args:
        row: The row.
        options: From `options_of`.
        column: Where the answer stands.

    Raises:
        DataError: It is none of them, or it is one option's text and another one's place or letter.
    """
    value = row.values[column]
    number = isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    text = (row.verbatim(column) or "").strip()
    meant = {i for i, option in enumerate(options) if option.lower() == text.lower()}
    if number and 0 <= int(value) < len(options):
        meant.add(int(value))
    if text.upper() in ALPHABET[: len(options)]:
        meant.add(ALPHABET.index(text.upper()))
    if len(meant) > 1:
        row.fail(
            column,
            f"it is the text of one option and the place of another of {list(options)}",
            "write the text of an option that is no letter or number, or name the options otherwise",
        )
    return meant.pop() if meant else row.choice(column, options)


def _as_many(row: Row, column: str, first: list[str]) -> list[str]:
    options = options_of(row, column)
    if len(options) != len(first):
        row.fail(column, f"the first line has {len(first)}; all lines of a task have as many", "correct the row")
    return options


def _unpacked(value: Any) -> Any:
    """A JSON text as what it says; anything else as it is."""
    if not isinstance(value, str) or not value.strip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _plain(question: str, options: Sequence[str], ending: str) -> Question:
    return Question(text=with_ending(question, ending), candidates=tuple(options), blanked=ending or None)
