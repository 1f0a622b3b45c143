"""PMC-VQA: multiple-choice questions about figures of medical papers.

Reference: Zhang et al. 2023, "PMC-VQA: Visual Instruction Tuning for Medical Visual Question Answering".
"""

import re
from collections import Counter

from fusionscope.errors import DataError, UnknownNameError
from fusionscope.tasks.assemble import LETTERS, Item, Source, lettered, natural_task, unique
from fusionscope.tasks.sources.finder import Finder
from fusionscope.tasks.sources.row import Row
from fusionscope.tasks.sources.tables import read
from fusionscope.tasks.task import HeldOutTask

SOURCE = Source(citation="Zhang et al. 2023, PMC-VQA, arXiv:2305.10415", licence="CC BY-SA (figures: PMC open access)")
CHOICES = tuple(f"Choice {letter}" for letter in LETTERS)
_ALIASES = {"Anwser": "Answer", "Anwser_label": "Answer_label", "image": "Figure_path"}
_MOST_BAD = 0.01


def load(
    variant: str = "",
    *,
    path: str,
    image_folder: str | None = None,
    ending: str = "Answer with the option's letter from the given choices directly.",
    n: int | None = None,
    seed: int = 0,
    split: str = "test",
    max_bad_images: int = 0,
) -> HeldOutTask:
    """Load PMC-VQA, first or cleaned second version.

    Each question belongs to its figure, and its options to the question: the task is not crossed, and Y is the letter.
    Questions and options were written by a language model: up to one row in a hundred may have an answer that is none
    of its options; it is left out and counted. More fail.

    Args:
        variant: There is none.
        path: The CSV file (``test.csv``, ``test_2.csv``, ``test_clean.csv``), or a table of the hub.
        image_folder: The figures; a folder or a .zip file (``images.zip``, ``images_2.zip``).
        ending: Last line of the user's turn.
        n: Number of questions, drawn without replacement.
        seed: Seed of the draw.
        split: Split on the hub.
        max_bad_images: Maximum number of images that cannot be read and are left out (reads them all); by default the
            first one fails when it is opened.

    Raises:
        UnknownNameError: A variant was named.
        DataError: The file is not PMC-VQA's.
    """
    if variant:
        raise UnknownNameError(f"variant {variant!r} of PMC-VQA", "there is none", "use 'pmc_vqa' and choose the file")
    rows, finder, dropped = rows_of(path, split), Finder(image_folder, ("images", "figures")), Counter[str]()
    items, wrong = [], list[DataError]()
    for row in rows:
        options = options_of(row)
        image = finder.of(row, "Figure_path")
        if image is None:
            dropped["image missing"] += 1
        elif None in options:
            dropped["an option is empty"] += 1
        else:
            question = lettered(row.text("Question"), [str(option) for option in options], ending)
            try:
                answer = answer_of(row, options)
            except DataError as error:
                wrong.append(error)
                continue
            items.append(Item(image=image, question=question, answer=answer))
    if len(wrong) > _MOST_BAD * len(rows):
        raise wrong[0]
    if wrong:
        dropped["the answer is none of the options"] = len(wrong)
    return natural_task(
        "pmc_vqa", unique(items, dropped), LETTERS, SOURCE, crossable=False, dropped=dropped, n=n, seed=seed,
        max_bad_images=max_bad_images,
    )  # fmt: skip


def rows_of(path: str, split: str = "test") -> list[Row]:
    """The rows of a file.

    Args:
        path: CSV file or hub name.
        split: Split on the hub.
    """
    optional = ("Answer", "Answer_label")
    rows = read(path, ("Figure_path", "Question", *CHOICES), split=split, optional=optional, aliases=_ALIASES)
    for row in rows:
        if not any(column in row.values for column in optional):
            row.fail("Answer", "a row has Answer or Answer_label")
    return rows


def options_of(row: Row) -> list[str | None]:
    """The four options without the letters, quotes and blanks around them (``" A:Uterus "``), None where one is empty.

    Letters are taken off where at least two options begin with their own: ``"A. fumigatus"`` alone is a name.
    """
    given = [row.verbatim(column) for column in CHOICES]
    one_line = [None if text is None else " ".join(text.split()) for text in given]
    bare = [_bare(text, letter) for text, letter in zip(one_line, LETTERS, strict=True)]
    marked = sum(short != text for short, text in zip(bare, one_line, strict=True)) >= 2
    return bare if marked else one_line


def answer_of(row: Row, options: list[str | None]) -> int:
    """Which option is right: ``Answer_label``, or ``Answer`` as a letter or as the text of an option.

    Args:
        row: The row.
        options: From `options_of`.

    Raises:
        DataError: The answer is none of them.
    """
    for column in ("Answer_label", "Answer"):
        value = (row.optional(column) or "").strip(" '\".:").upper()
        if value in LETTERS:
            return LETTERS.index(value)
    column = "Answer" if "Answer" in row.values else "Answer_label"
    given = " ".join((row.verbatim(column) or row.text(column)).split())
    matches = [i for i, option in enumerate(options) if option is not None and _same(given, option, LETTERS[i])]
    if len(matches) != 1:
        row.fail(column, f"it is a letter or the text of one option; the options are {options}")
    return matches[0]


def _bare(text: str | None, letter: str) -> str | None:
    """The text after its letter; quotes around both go too."""
    if text is None:
        return None
    mark = re.match(rf"^['\"]?\s*{letter}\s*[:.)]\s*", text)
    if mark is None:
        return text
    rest = text[mark.end() :]
    return (rest.rstrip("'\"") if text[0] in "'\"" else rest).strip() or None


def _same(given: str, option: str, letter: str) -> bool:
    return option.lower() in (given.lower(), (_bare(given, letter) or "").lower())
