"""Reefknot: relations between things in Visual Genome's images.

Reference: Zheng et al. 2024, "Reefknot: A Comprehensive Benchmark for Relation Hallucination Evaluation".
"""

import re
from collections import Counter
from pathlib import Path

from fusionscope.errors import UnknownNameError
from fusionscope.tasks.assemble import LETTERS, Item, Source, candidates_of, natural_task, unique
from fusionscope.tasks.sources.finder import Finder
from fusionscope.tasks.sources.row import Row
from fusionscope.tasks.sources.tables import read
from fusionscope.tasks.task import HeldOutTask, Question

SOURCE = Source(
    citation="Zheng et al. 2024, Reefknot, arXiv:2408.09429, https://github.com/Jackie-2000/Reefknot",
    licence="as published with Reefknot (images: Visual Genome, CC BY 4.0)",
)
FILES = {"yesno": "YESNO.jsonl", "multichoice": "Multichoice.jsonl"}
_FIFTH = re.compile(r"(?<!\w)E\.\s")
_OPTIONS = re.compile(r"(?<!\w)A\.\s*(.+?)\s+B\.\s*(.+?)\s+C\.\s*(.+?)\s+D\.\s*(.+)$", re.DOTALL)


def load(
    variant: str = "",
    *,
    path: str,
    image_folder: str,
    candidates: tuple[str, str] = ("yes", "no"),
    n: int | None = None,
    seed: int = 0,
    max_bad_images: int = 0,
    allow_outside: bool = False,
) -> HeldOutTask:
    """Load Reefknot.

    Questions take the things that they name for granted, so they don't make sense with every image: the task is not
    crossed. The third file, VQA.jsonl, asks for free text and has no closed set of answers.

    Args:
        variant: ``"yesno"`` (the default) or ``"multichoice"`` (answered by a letter).
        path: The official file, or the folder of all.
        image_folder: Visual Genome's images, in the folder itself or in VG_100K and VG_100K_2 below it, or in a .zip
            or .tar file.
        candidates: How the model says yes and no.
        n: Number of images, drawn without replacement, each with all of its questions.
        seed: Seed of the draw.
        max_bad_images: Maximum number of images that are left out because they are missing or cannot be read (opens
            all); by default none may be missing, and the first that is broken fails when it is opened.
        allow_outside: Whether names of images may lead out of ``image_folder`` (``..``, absolute, symbolic links).

    Raises:
        UnknownNameError: No such variant.
        DataError: The file is not Reefknot's.
    """
    kind = variant or "yesno"
    if kind not in FILES:
        raise UnknownNameError(
            f"variant {kind!r} of Reefknot",
            f"there are {', '.join(FILES)}; VQA.jsonl asks for free text, which is no closed set of answers",
            "use one of these",
        )
    file = Path(path).expanduser() / FILES[kind] if Path(path).expanduser().is_dir() else path
    answers = ("yes", "no") if kind == "yesno" else LETTERS
    finder = Finder(image_folder, ("VG_100K", "VG_100K_2"), allow_outside=allow_outside)
    spoken, items, dropped = candidates_of(candidates, ("yes", "no")), [], Counter[str]()
    for row in rows_of(str(file)):
        image = finder.of(row, "image_id", ending=".jpg")
        question = _yesno(row, spoken) if kind == "yesno" else _lettered(row)
        answer = row.choice("label", answers)
        if question is None:
            dropped["options not A to D"] += 1
        else:
            items.append(Item(image=image, question=question, answer=answer))
    return natural_task(
        f"reefknot/{kind}",
        unique(items, dropped),
        answers,
        SOURCE,
        crossable=False,
        dropped=dropped,
        n=n,
        seed=seed,
        max_bad_images=max_bad_images,
    )


def rows_of(path: str) -> list[Row]:
    """The rows of any of the three files.

    Args:
        path: The file.
    """
    return read(path, ("image_id", "query_prompt", "label"))


def _yesno(row: Row, candidates: tuple[str, ...]) -> Question:
    text = row.text("query_prompt")
    ending = "Please answer yes or no."
    return Question(text=text, candidates=candidates, blanked=ending if text.endswith(ending) else None)


def _lettered(row: Row) -> Question | None:
    text = row.text("query_prompt")
    options = _OPTIONS.search(text)
    return (
        None
        if options is None or _FIFTH.search(options.group(4))
        else Question(text=text, candidates=LETTERS, blanked=text[options.start() :])
    )
