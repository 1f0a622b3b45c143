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
_MORE = tuple(f"Choice {letter}" for letter in "EFGH")
_ALIASES = {"Anwser": "Answer", "Anwser_label": "Answer_label", "image": "Figure_path"}
_MAX_WRONG_FRACTION = 0.01


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
    allow_outside: bool = False,
) -> HeldOutTask:
    """Load PMC-VQA, first or cleaned second version.

    Each question belongs to its figure, and its options to the question: the task is not crossed, and Y is the letter.
    Questions and options were written by a language model: up to one row in a hundred may have an answer that is not
    one of its options; it is left out and counted. More fail.

    Args:
        variant: There is none.
        path: The CSV file (``test.csv``, ``test_2.csv``, ``test_clean.csv``), or a table of the hub.
        image_folder: The figures; a folder or a .zip file (``images.zip``, ``images_2.zip``).
        ending: Last line of the user's turn.
        n: Number of images, drawn without replacement, each with all of its questions.
        seed: Seed of the draw.
        split: Split on the hub.
        max_bad_images: Maximum number of images that are left out because they are missing or cannot be read (opens
            all); by default none may be missing, and the first that is broken fails when it is opened.
        allow_outside: Whether names of images may lead out of ``image_folder`` (``..``, absolute, symbolic links).

    Raises:
        UnknownNameError: A variant was named.
        DataError: The file is not PMC-VQA's.
    """
    if variant:
        raise UnknownNameError(f"variant {variant!r} of PMC-VQA", "there is none", "use 'pmc_vqa' and choose the file")
    rows, finder = rows_of(path, split), Finder(image_folder, ("images", "figures"), allow_outside=allow_outside)
    items, wrong, dropped = [], list[DataError](), Counter[str]()
    for row in rows:
        options = options_of(row)
        image = finder.of(row, "Figure_path")
        if None in options:
            dropped["an option is empty"] += 1
        elif any(row.verbatim(column) is not None for column in _MORE):
            dropped["more than four options"] += 1
        else:
            question = lettered(row.text("Question"), [str(option) for option in options], ending)
            try:
                answer = answer_of(row, options)
            except DataError as error:
                wrong.append(error)
                continue
            items.append(Item(image=image, question=question, answer=answer))
    if len(wrong) > _MAX_WRONG_FRACTION * len(rows):
        raise wrong[0]
    dropped["the answer is none of the options"] = len(wrong)
    return natural_task(
        "pmc_vqa",
        unique(items, dropped),
        LETTERS,
        SOURCE,
        crossable=False,
        dropped=dropped,
        n=n,
        seed=seed,
        max_bad_images=max_bad_images,
    )


def rows_of(path: str, split: str = "test") -> list[Row]:
    """The rows of a file.

    Args:
        path: CSV file or hub name.
        split: Split on the hub.
    """
    answers = ("Answer", "Answer_label")
    columns = ("Figure_path", "Question", *CHOICES)
    rows = read(path, columns, split=split, optional=(*answers, *_MORE), aliases=_ALIASES)
    for row in rows:
        if not any(column in row.values for column in answers):
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
    """Which option is right: ``Answer_label`` and ``Answer``, each a letter or the text of an option.

    Args:
        row: The row.
        options: From `options_of`.

    Raises:
        DataError: The answer is none of them, may be two of them, or the two columns contradict each other.
    """
    column = "Answer" if row.verbatim("Answer") is not None else "Answer_label"
    meant = {name: _meant(row, name, options) for name in ("Answer_label", "Answer")}
    given = [choices for choices in meant.values() if choices]
    if not given:
        row.body(column)
        row.fail(column, f"it is a letter or the text of one option; the options are {options}")
    both = set.intersection(*given)
    if not both:
        row.fail(column, f"it contradicts Answer_label {row.verbatim('Answer_label')!r}; the options are {options}")
    if len(both) > 1:
        row.fail(column, f"it may be {' or '.join(LETTERS[i] for i in sorted(both))}; the options are {options}")
    return both.pop()


def _meant(row: Row, column: str, options: list[str | None]) -> set[int]:
    """Options that a column may name: by its letter, which is all that a label is, or by its text."""
    given = " ".join((row.verbatim(column) or "").split())
    letter = given.strip(" '\".:").upper()
    named = {LETTERS.index(letter)} if letter in LETTERS else set()
    if named and column == "Answer_label":
        return named
    return named | {i for i, option in enumerate(options) if option is not None and _same(given, option, LETTERS[i])}


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
