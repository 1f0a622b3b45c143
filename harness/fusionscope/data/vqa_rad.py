"""VQA-RAD: clinicians' questions about radiology pictures.

Reference: Lau et al. 2018, "A dataset of clinically generated visual questions and answers about radiology images".
"""

from collections import Counter
from typing import Literal

from fusionscope.data.natural import Item, Source, natural_task, unique
from fusionscope.data.pictures import Finder
from fusionscope.data.tables import Row, read
from fusionscope.data.task import HeldOutTask, Question
from fusionscope.errors import ConfigError, UnknownNameError

SOURCE = Source(citation="Lau et al. 2018, VQA-RAD, Scientific Data 5:180251", licence="CC0 1.0")
ORGANS = {"head": "HEAD", "chest": "CHEST", "abdomen": "ABD"}


def load(
    variant: str = "",
    *,
    path: str,
    image_folder: str,
    part: Literal["all", "train", "test"] = "all",
    ending: str = "Answer the question using a single word or phrase.",
    candidates: tuple[str, str] = ("Yes", "No"),
    n: int | None = None,
    seed: int = 0,
) -> HeldOutTask:
    """Load the yes/no questions of VQA-RAD.

    Closed questions with other answers ("left", "MRI") are left out and counted. A question about the lungs makes no
    sense with a brain: the task is not crossed.

    Args:
        variant: ``"head"``, ``"chest"`` or ``"abdomen"``; all by default.
        path: ``VQA_RAD Dataset Public.json``.
        image_folder: The pictures.
        part: ``"test"``: phrase types that begin with "test"; ``"train"``: the others.
        ending: Last line of the user's turn.
        candidates: How the model says yes and no.
        n: So many questions, drawn without replacement.
        seed: Seed of the draw.

    Raises:
        UnknownNameError: No such variant.
        ConfigError: No such part.
        DataError: The file is not VQA-RAD's.
    """
    if variant and variant not in ORGANS:
        raise UnknownNameError(f"variant {variant!r} of VQA-RAD", f"there are {', '.join(ORGANS)}", "use one of these")
    if part not in ("all", "train", "test"):
        raise ConfigError(f"part={part!r}", "it is all, train or test", "use one of these")
    finder, dropped = Finder(image_folder), Counter[str]()
    items = []
    for row in rows_of(path):
        test = row.text("phrase_type").startswith("test")
        answer = (row.optional("answer") or "").rstrip(".").lower()
        found = finder.of(row, "image_name")
        if (variant and row.text("image_organ").upper() != ORGANS[variant]) or (
            part != "all" and test != (part == "test")
        ):
            continue
        if not is_closed(row):
            dropped["open question"] += 1
        elif answer not in ("yes", "no"):
            dropped["closed, but neither yes nor no"] += 1
        elif found is None:
            dropped["picture missing"] += 1
        else:
            question = Question(text=f"{row.text('question')}\n{ending}".strip(), candidates=candidates, blanked=ending)
            items.append(Item(picture=found[0], opener=found[1], question=question, answer=("yes", "no").index(answer)))
    name = f"vqa_rad/{variant}" if variant else "vqa_rad"
    return natural_task(
        name, unique(items, dropped), ("yes", "no"), SOURCE, crossable=False, dropped=dropped, n=n, seed=seed
    )


def rows_of(path: str) -> list[Row]:
    """The rows of the official file.

    Args:
        path: The JSON file.
    """
    return read(path, ("image_name", "question", "answer", "answer_type", "phrase_type", "image_organ"))


def is_closed(row: Row) -> bool:
    """Whether the question has a closed set of answers; the published file has stray blanks here.

    Raises:
        DataError: Neither CLOSED nor OPEN.
    """
    return row.choice("answer_type", ("CLOSED", "OPEN")) == 0
