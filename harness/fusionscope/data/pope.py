"""POPE: is there such an object in the picture?

Reference: Li et al. 2023, "Evaluating Object Hallucination in Large Vision-Language Models", EMNLP.
"""

from collections import Counter
from pathlib import Path

from fusionscope.data.natural import Item, Source, natural_task, unique
from fusionscope.data.pictures import Finder
from fusionscope.data.tables import Row, read
from fusionscope.data.task import HeldOutTask, Question
from fusionscope.errors import UnknownNameError

SOURCE = Source(
    citation="Li et al. 2023, POPE, EMNLP, https://github.com/AoiDragon/POPE", licence="MIT (pictures: COCO)"
)
SPLITS = ("random", "popular", "adversarial")


def load(
    variant: str = "",
    *,
    path: str,
    image_folder: str | None = None,
    ending: str = "Answer the question using a single word or phrase.",
    candidates: tuple[str, str] = ("Yes", "No"),
    n: int | None = None,
    seed: int = 0,
    split: str = "test",
) -> HeldOutTask:
    """Load POPE.

    "Is there a car in the image?" makes sense with every picture, so the task may be crossed; only pairs that POPE asks
    about have a known truth.

    Args:
        variant: ``"random"`` (the default), ``"popular"`` or ``"adversarial"``.
        path: The official file, the folder of the three, or a name on the hub (with a column ``category``).
        image_folder: COCO's val2014 pictures.
        ending: Last line of the user's turn.
        candidates: How the model says yes and no.
        n: So many questions, drawn without replacement.
        seed: Seed of the draw.
        split: Split on the hub.

    Raises:
        UnknownNameError: No such variant.
        DataError: The file is not POPE's.
    """
    kind = variant or "random"
    if kind not in SPLITS:
        raise UnknownNameError(f"variant {kind!r} of POPE", f"there are {', '.join(SPLITS)}", "use one of these")
    file = Path(path) / f"coco_pope_{kind}.json" if Path(path).is_dir() else path
    rows = [row for row in rows_of(str(file), split) if row.values.get("category", kind) == kind]
    finder, dropped = Finder(image_folder), Counter[str]()
    items = []
    for row in rows:
        found = finder.of(row, "image", name="image_source")
        if found is None:
            dropped["picture missing"] += 1
            continue
        column = "text" if "text" in row.values else "question"
        question = Question(text=f"{row.text(column)}\n{ending}".strip(), candidates=tuple(candidates), blanked=ending)
        answer = row.choice("label" if "label" in row.values else "answer", ("yes", "no"))
        items.append(Item(picture=found[0], opener=found[1], question=question, answer=answer))
    return natural_task(
        f"pope/{kind}", unique(items, dropped), ("yes", "no"), SOURCE, crossable=True, dropped=dropped, n=n, seed=seed
    )


def rows_of(path: str, split: str = "test") -> list[Row]:
    """POPE's rows, from the official JSON lines or the hub's table.

    Args:
        path: File or hub name.
        split: Split on the hub.
    """
    rows = read(path, ("image",), split=split)
    hub = "text" not in rows[0].values and "question" in rows[0].values
    needed = ("question", "answer", "image") if hub else ("image", "text", "label")
    for row in rows:
        for column in needed:
            if column not in row.values:
                row.fail(column, f"POPE's rows have {', '.join(needed)}")
    return rows
