"""MMBench: multiple-choice questions over twenty abilities.

Reference: Liu et al. 2023, "MMBench: Is Your Multi-modal Model an All-around Player?".
"""

from collections import Counter

from fusionscope.errors import ConfigError, DataError, UnknownNameError
from fusionscope.tasks.assemble import ALPHABET, Item, Source, lettered, natural_task, unique
from fusionscope.tasks.sources.finder import Finder
from fusionscope.tasks.sources.lazy import ImageSource
from fusionscope.tasks.sources.row import Row
from fusionscope.tasks.sources.tables import read
from fusionscope.tasks.task import HeldOutTask

SOURCE = Source(citation="Liu et al. 2023, MMBench, arXiv:2307.06281", licence="Apache-2.0")
ROTATION = 1_000_000
_LETTERS = ALPHABET[:8]


def load(
    variant: str = "",
    *,
    path: str,
    image_folder: str | None = None,
    options: int = 4,
    ending: str = "Answer with the option's letter from the given choices directly.",
    n: int | None = None,
    seed: int = 0,
    split: str = "dev",
    max_bad_images: int = 0,
    allow_outside: bool = False,
) -> HeldOutTask:
    """Load MMBench, English or Chinese, or CCBench.

    Each question belongs to its image, and its options to the question: the task is not crossed, and Y is the letter.
    All questions of a task need the same number of answers, so those with fewer or more options are left out. The
    official files hold each question once for each rotation of its options (index + 1,000,000 and so on): these rows
    are left out and counted, and made anew where they are asked for.

    Args:
        variant: ``"circular"`` asks every question once for each rotation of its options; the default asks once.
        path: The official TSV with answers (dev), or a table of the hub (``"hub:lmms-lab/MMBench:en"``, Parquet files).
        image_folder: Images, where the file names them in place of holding them.
        options: How many options a question has: 2, 3 or 4.
        ending: Last line of the user's turn.
        n: Number of images, drawn without replacement, each with all of its questions.
        seed: Seed of the draw.
        split: Split on the hub.
        max_bad_images: Maximum number of images that are left out because they are missing or cannot be read (opens
            all); by default none may be missing, and the first that is broken fails when it is opened.
        allow_outside: Whether names of images may lead out of ``image_folder`` (``..``, absolute, symbolic links).

    Raises:
        UnknownNameError: No such variant.
        ConfigError: No such number of options.
        DataError: The file is not MMBench's.
    """
    if variant not in ("", "circular"):
        raise UnknownNameError(f"variant {variant!r} of MMBench", "there is only 'circular'", "use 'mmbench/circular'")
    if options not in (2, 3, 4):
        raise ConfigError(f"options={options}", "MMBench's questions have 2, 3 or 4", "use one of these")
    rows, dropped = rows_of(path, split), Counter[str]()
    images = images_of(rows, Finder(image_folder, allow_outside=allow_outside))
    items = []
    for row in first_of_each(rows, dropped):
        given = options_of(row)
        answer = row.choice("answer", _LETTERS)
        if answer >= len(given):
            row.fail("answer", f"the question has {len(given)} options")
        if len(given) != options:
            dropped[f"{len(given)} options"] += 1
        else:
            items += _asked(row, given, answer, images[row.text("index")], ending, options if variant else 1)
    name = "mmbench/circular" if variant else "mmbench"
    return natural_task(
        name,
        unique(items, dropped),
        _LETTERS[:options],
        SOURCE,
        crossable=False,
        dropped=dropped,
        n=n,
        seed=seed,
        max_bad_images=max_bad_images,
    )


def rows_of(path: str, split: str = "dev") -> list[Row]:
    """The rows of a file, indices checked to be unique.

    Args:
        path: TSV file or table of the hub.
        split: Split on the hub.

    Raises:
        DataError: An index stands twice, or no question has an answer.
    """
    columns = ("index", "question", "A", "B", "image")
    rows = read(path, columns, split=split, optional=(*_LETTERS[2:], "hint", "answer"))
    row_of: dict[str, int] = {}
    for row in rows:
        if row_of.setdefault(row.text("index"), row.number) != row.number:
            row.fail("index", f"row {row_of[row.text('index')]} has the same index")
    if not any(row.optional("answer") for row in rows):
        raise DataError(
            f"{path} has no column 'answer', or an empty one",
            "the test part of MMBench is published without answers",
            "give the dev part",
        )
    return rows


def first_of_each(rows: list[Row], dropped: Counter[str]) -> list[Row]:
    """One row of each question: rotations of its options have its index plus a multiple of a million.

    Args:
        rows: All rows.
        dropped: Counts of what was left out; added to.
    """
    first: dict[str, Row] = {}
    for row in rows:
        key = row.text("index")
        first.setdefault(str(int(key) % ROTATION) if key.isdecimal() else key, row)
    if len(first) < len(rows):
        dropped["rotation of a question"] += len(rows) - len(first)
    return list(first.values())


def options_of(row: Row) -> list[str]:
    """Options A, B and, where they are not empty or "nan", those from C on.

    Raises:
        DataError: An option is missing before a later one.
    """
    given = [row.verbatim(letter) for letter in _LETTERS]
    filled = [option for option in given if option is not None]
    if given[: len(filled)] != filled or len(filled) < 2:
        row.fail(_LETTERS[given.index(None)], "options come without gaps, two at least")
    return filled


def images_of(rows: list[Row], finder: Finder) -> dict[str, ImageSource]:
    """The image of each index; a cell that holds another index stands for that one's image.

    Args:
        rows: All rows.
        finder: Finds files.

    Raises:
        DataError: A cell refers to an index that holds no image itself.
    """
    by_index = {row.text("index"): row for row in rows}
    images: dict[str, ImageSource] = {}
    for index, row in by_index.items():
        owner, hops = row, 0
        while (other := _referred(owner, by_index)) is not None:
            owner, hops = other, hops + 1
            if hops > len(rows):
                row.fail("image", "the references go round in a circle")
        images[index] = finder.of(owner, "image", name="index")
    return images


def _referred(row: Row, by_index: dict[str, Row]) -> Row | None:
    """The row whose image this one shows, or None where it has its own."""
    if not isinstance(row.values["image"], str | int | float):
        return None
    index = row.text("image")
    if len(index) > 16 or not index.isdecimal() or by_index.get(index) is row:
        return None
    if index not in by_index:
        row.fail("image", "no row has this index")
    return by_index[index]


def _asked(row: Row, options: list[str], answer: int, image: ImageSource, ending: str, rotations: int) -> list[Item]:
    """The question, its options rotated to the left 0 to ``rotations - 1`` times."""
    text = row.body("question") if row.optional("hint") is None else f"{row.body('hint')}\n{row.body('question')}"
    return [
        Item(
            image=image,
            question=lettered(text, options[r:] + options[:r], ending),
            answer=(answer - r) % len(options),
        )
        for r in range(rotations)
    ]
