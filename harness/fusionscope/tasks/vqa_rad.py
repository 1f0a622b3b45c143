"""VQA-RAD: clinicians' questions about radiology images.

Reference: Lau et al. 2018, "A dataset of clinically generated visual questions and answers about radiology images".
"""

from collections import Counter
from pathlib import Path
from typing import Literal

from fusionscope.errors import ConfigError, UnknownNameError
from fusionscope.tasks.assemble import Item, Source, candidates_of, natural_task, unique, with_ending
from fusionscope.tasks.sources.finder import Finder
from fusionscope.tasks.sources.row import Row
from fusionscope.tasks.sources.tables import read
from fusionscope.tasks.task import HeldOutTask, Question

SOURCE = Source(citation="Lau et al. 2018, VQA-RAD, Scientific Data 5:180251", licence="CC0 1.0")
OFFICIAL = "VQA_RAD Dataset Public.json"
_ABOUT = ("answer_type", "phrase_type", "image_organ")
ORGANS = {"head": "HEAD", "chest": "CHEST", "abdomen": "ABD"}


def load(
    variant: str = "",
    *,
    path: str,
    image_folder: str | None = None,
    part: Literal["all", "train", "test"] = "all",
    ending: str = "Answer the question using a single word or phrase.",
    candidates: tuple[str, str] = ("Yes", "No"),
    n: int | None = None,
    seed: int = 0,
    max_bad_images: int = 0,
    allow_outside: bool = False,
) -> HeldOutTask:
    """Load the yes/no questions of VQA-RAD.

    Closed questions with other answers ("left", "MRI") are left out and counted. A question about the lungs makes no
    sense with a brain: the task is not crossed.

    Args:
        variant: ``"head"``, ``"chest"`` or ``"abdomen"``; all by default. The hub's table doesn't tell them apart.
        path: ``VQA_RAD Dataset Public.json`` or the folder that holds it; or the hub's table of image, question and
            answer (``"hub:flaviagiammarino/vqa-rad"``, or its Parquet files).
        image_folder: The images, where the table doesn't hold them; a folder or a .zip file.
        part: ``"test"``: phrase types that begin with "test", or the hub's split; ``"train"``: the others.
        ending: Last line of the user's turn.
        candidates: How the model says yes and no.
        n: Number of images, drawn without replacement, each with all of its questions.
        seed: Seed of the draw.
        max_bad_images: Maximum number of images that are left out because they are missing or cannot be read (opens
            all); by default none may be missing, and the first that is broken fails when it is opened.
        allow_outside: Whether names of images may lead out of ``image_folder`` (``..``, absolute, symbolic links).

    Raises:
        UnknownNameError: No such variant.
        ConfigError: No such part.
        DataError: The file is not VQA-RAD's.
    """
    if variant and variant not in ORGANS:
        raise UnknownNameError(f"variant {variant!r} of VQA-RAD", f"there are {', '.join(ORGANS)}", "use one of these")
    if part not in ("all", "train", "test"):
        raise ConfigError(f"part={part!r}", "it is all, train or test", "use one of these")
    finder = Finder(image_folder, ("VQA_RAD Image Folder", "images"), allow_outside=allow_outside)
    spoken, items, dropped = candidates_of(candidates, ("yes", "no")), [], Counter[str]()
    for row in rows_of(path, part):
        if not _wanted(row, variant, part):
            continue
        answer = (row.optional("answer") or "").rstrip(".").lower()
        image = finder.of(row, "image_name")
        if _is_hub(row) and answer not in ("yes", "no"):
            dropped["neither yes nor no"] += 1
        elif not _is_hub(row) and not is_closed(row):
            dropped["open question"] += 1
        elif answer not in ("yes", "no"):
            dropped["closed, but neither yes nor no"] += 1
        else:
            question = Question(text=with_ending(row.text("question"), ending), candidates=spoken, blanked=ending)
            items.append(Item(image=image, question=question, answer=("yes", "no").index(answer)))
    name = f"vqa_rad/{variant}" if variant else "vqa_rad"
    return natural_task(
        name,
        unique(items, dropped),
        ("yes", "no"),
        SOURCE,
        crossable=False,
        dropped=dropped,
        n=n,
        seed=seed,
        max_bad_images=max_bad_images,
    )


def rows_of(path: str, part: str = "all") -> list[Row]:
    """The rows of the official file, or of the hub's table, where ``image_name`` holds the image itself.

    Args:
        path: The JSON file, its folder, Parquet files or a name on the hub.
        part: Which split of the hub's table.

    Raises:
        ConfigError: All parts of a hub's table, whose splits are files of their own.
        DataError: The file is not VQA-RAD's.
    """
    place = Path(path).expanduser()
    official = place / OFFICIAL
    if official.is_file():
        path = str(official)
    elif not place.is_file() and part == "all":
        raise ConfigError(
            f"path={path!r} with part='all'",
            "no such file; a table in several files or on the hub has a train and a test split",
            "set path to the official file, or part to 'train' or 'test'",
        )
    rows = read(
        path, ("image_name", "question", "answer"), split=part, optional=_ABOUT, aliases={"image": "image_name"}
    )
    for row in rows:
        missing = [column for column in _ABOUT if column not in row.values]
        if missing and not _is_hub(row):
            row.fail(missing[0], f"the official format has {', '.join(_ABOUT)}")
    return rows


def is_closed(row: Row) -> bool:
    """Whether the question has a closed set of answers; the published file has stray blanks here.

    Raises:
        DataError: Neither CLOSED nor OPEN.
    """
    return row.choice("answer_type", ("CLOSED", "OPEN")) == 0


def _wanted(row: Row, variant: str, part: str) -> bool:
    """Whether a row is of the organ and the part."""
    if _is_hub(row):
        if variant:
            row.fail("image_organ", "this table doesn't say which organ is shown", "use the official JSON file")
        return True
    if variant and row.text("image_organ").upper() != ORGANS[variant]:
        return False
    return part == "all" or row.text("phrase_type").startswith("test") == (part == "test")


def _is_hub(row: Row) -> bool:
    """The hub's table holds images, questions and answers and nothing about them."""
    return not any(column in row.values for column in _ABOUT)
