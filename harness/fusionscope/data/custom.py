"""One's own task from a JSON lines file of (image, question, options, answer)."""

from collections import Counter
from pathlib import Path

from fusionscope.data.natural import LETTERS, Item, Source, lettered, natural_task, unique
from fusionscope.data.pictures import Finder
from fusionscope.data.tables import Row, read
from fusionscope.data.task import HeldOutTask, Question
from fusionscope.errors import ConfigError


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
) -> HeldOutTask:
    """Load a task of one's own.

    A line is ``{"image": "a.png", "question": "Is it red?", "options": ["yes", "no"], "answer": "yes"}``; ``answer`` is
    an option's text or its place from 0. Where all lines have the same options in the same order, Y is the answer
    itself and the options are not shown; else they are shown with letters, and Y is the letter.

    Args:
        variant: Name of the task in records; the file's name by default.
        path: The file.
        image_folder: Where the pictures are; the file's own folder by default.
        crossable: Whether every question makes sense with every picture (you know; nothing is guessed).
        ending: Last line of the user's turn.
        citation: How to cite it.
        licence: Its licence.
        n: So many lines, drawn without replacement.
        seed: Seed of the draw.

    Raises:
        ConfigError: A task with letters is to be crossed.
        DataError: A line is not as described, or has another number of options than the first.
    """
    rows = read(path, ("image", "question", "options", "answer"))
    shared = all(row.values["options"] == rows[0].values["options"] for row in rows)
    if crossable and not shared:
        raise ConfigError(
            "crossable=True with options that differ between lines",
            "crossing needs answers that mean the same for every question",
            "give every line the same options, or set crossable to false",
        )
    finder, dropped = Finder(image_folder or str(Path(path).parent)), Counter[str]()
    items, first = [], options_of(rows[0])
    for row in rows:
        options = options_of(row)
        if len(options) != len(first):
            row.fail("options", f"the first line has {len(first)}; all lines of a task have as many", "correct the row")
        found = finder.of(row, "image")
        question = _plain(row, options, ending) if shared else lettered(row.text("question"), options, ending)
        if found is None:
            dropped["picture missing"] += 1
        else:
            items.append(Item(picture=found[0], opener=found[1], question=question, answer=answer_of(row, options)))
    return natural_task(
        f"custom/{variant or Path(path).stem}",
        unique(items, dropped),
        first if shared else LETTERS[: len(first)],
        Source(citation=citation, licence=licence),
        crossable=crossable,
        dropped=dropped,
        n=n,
        seed=seed,
    )


def options_of(row: Row) -> list[str]:
    """The options of a line.

    Raises:
        DataError: They are no list of two to four different texts (any number where they are not shown as letters).
    """
    options = row.values["options"]
    if not isinstance(options, list) or len(options) < 2 or len({str(one).strip() for one in options}) < len(options):
        row.fail("options", "it is a list of at least two different texts", "correct the row")
    return [str(one).strip() for one in options]


def answer_of(row: Row, options: list[str]) -> int:
    """Place of the right option.

    Raises:
        DataError: It is none of them.
    """
    value = row.values["answer"]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(options):
        return value
    return row.choice("answer", options)


def _plain(row: Row, options: list[str], ending: str) -> Question:
    return Question(text=f"{row.text('question')}\n{ending}".strip(), candidates=tuple(options), blanked=ending or None)
