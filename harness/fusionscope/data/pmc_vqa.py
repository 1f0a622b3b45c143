"""PMC-VQA: multiple-choice questions about figures of medical papers.

Reference: Zhang et al. 2023, "PMC-VQA: Visual Instruction Tuning for Medical Visual Question Answering".
"""

import re
from collections import Counter

from fusionscope.data.natural import LETTERS, Item, Source, lettered, natural_task, unique
from fusionscope.data.pictures import Finder
from fusionscope.data.tables import Row, read
from fusionscope.data.task import HeldOutTask
from fusionscope.errors import UnknownNameError

SOURCE = Source(citation="Zhang et al. 2023, PMC-VQA, arXiv:2305.10415", licence="CC BY-SA (figures: PMC open access)")
CHOICES = tuple(f"Choice {letter}" for letter in LETTERS)


def load(
    variant: str = "",
    *,
    path: str,
    image_folder: str | None = None,
    ending: str = "Answer with the option's letter from the given choices directly.",
    n: int | None = None,
    seed: int = 0,
    split: str = "test",
) -> HeldOutTask:
    """Load PMC-VQA, first or cleaned second version.

    Each question belongs to its figure, and its options to the question: the task is not crossed, and Y is the letter.

    Args:
        variant: There is none.
        path: The CSV file (``test.csv``, ``test_2.csv``, ``test_clean.csv``), or a name on the hub.
        image_folder: The figures.
        ending: Last line of the user's turn.
        n: So many questions, drawn without replacement.
        seed: Seed of the draw.
        split: Split on the hub.

    Raises:
        UnknownNameError: A variant was named.
        DataError: The file is not PMC-VQA's.
    """
    if variant:
        raise UnknownNameError(f"variant {variant!r} of PMC-VQA", "there is none", "use 'pmc_vqa' and choose the file")
    finder, dropped = Finder(image_folder), Counter[str]()
    items = []
    for row in rows_of(path, split):
        options = options_of(row)
        found = finder.of(row, "Figure_path")
        if found is None:
            dropped["picture missing"] += 1
        elif None in options:
            dropped["an option is empty"] += 1
        else:
            question = lettered(row.text("Question"), [str(option) for option in options], ending)
            items.append(Item(picture=found[0], opener=found[1], question=question, answer=answer_of(row, options)))
    return natural_task(
        "pmc_vqa", unique(items, dropped), LETTERS, SOURCE, crossable=False, dropped=dropped, n=n, seed=seed
    )


def rows_of(path: str, split: str = "test") -> list[Row]:
    """The rows of a file.

    Args:
        path: CSV file or hub name.
        split: Split on the hub.
    """
    return read(path, ("Figure_path", "Question", *CHOICES, "Answer"), split=split)


def options_of(row: Row) -> list[str | None]:
    """The four options without the letters and blanks around them (``" A:Uterus "``), None where one is empty."""
    return [_bare(row.optional(column), letter) for column, letter in zip(CHOICES, LETTERS, strict=True)]


def answer_of(row: Row, options: list[str | None]) -> int:
    """Which option is right: ``Answer_label``, or ``Answer`` as a letter or as the text of an option.

    Args:
        row: The row.
        options: From `options_of`.

    Raises:
        DataError: The answer is none of them.
    """
    for column in ("Answer_label", "Answer"):
        value = (row.optional(column) or "").rstrip(".:").upper()
        if value in LETTERS:
            return LETTERS.index(value)
    given = row.text("Answer")
    matches = [i for i, option in enumerate(options) if option is not None and _same(given, option, LETTERS[i])]
    if len(matches) != 1:
        row.fail("Answer", f"it is a letter or the text of one option; the options are {options}")
    return matches[0]


def _bare(text: str | None, letter: str) -> str | None:
    return None if text is None else re.sub(rf"^{letter}\s*[:.)]\s*", "", text).strip() or None


def _same(given: str, option: str, letter: str) -> bool:
    return (_bare(given, letter) or "").lower() == option.lower()
