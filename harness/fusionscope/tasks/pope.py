"""POPE: is there such an object in the image?

Reference: Li et al. 2023, "Evaluating Object Hallucination in Large Vision-Language Models", EMNLP.
"""

from collections import Counter
from pathlib import Path

from fusionscope.errors import ConfigError, DataError, UnknownNameError
from fusionscope.tasks.assemble import Item, Source, candidates_of, natural_task, unique, with_ending
from fusionscope.tasks.sources.finder import Finder
from fusionscope.tasks.sources.row import Row
from fusionscope.tasks.sources.tables import read
from fusionscope.tasks.task import HeldOutTask, Question

SOURCE = Source(citation="Li et al. 2023, POPE, EMNLP, https://github.com/AoiDragon/POPE", licence="MIT (images: COCO)")
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
    max_bad_images: int = 0,
    allow_outside: bool = False,
) -> HeldOutTask:
    """Load POPE.

    "Is there a car in the image?" makes sense with every image, so the task may be crossed; only pairs that POPE asks
    about have a known truth.

    Args:
        variant: ``"random"`` (the default), ``"popular"`` or ``"adversarial"``.
        path: The official file (of COCO, A-OKVQA or GQA), the folder of the three, VLMEvalKit's ``POPE.tsv``, or the
            hub's table (``"hub:lmms-lab/POPE"``, or its Parquet files), whose column ``category`` names the variants.
        image_folder: COCO's val2014 images, or GQA's; a folder or a .zip or .tar file.
        ending: Last line of the user's turn.
        candidates: How the model says yes and no.
        n: Number of questions, drawn without replacement.
        seed: Seed of the draw.
        split: Split on the hub.
        max_bad_images: Maximum number of images that are left out because they are missing or cannot be read (opens
            all); by default none may be missing, and the first that is broken fails when it is opened.
        allow_outside: Whether names of images may lead out of ``image_folder`` (``..``, absolute, symbolic links).

    Raises:
        UnknownNameError: No such variant.
        ConfigError: The file's name says another variant, or a folder holds none or several files of it.
        DataError: The file is not POPE's.
    """
    kind = variant or "random"
    if kind not in SPLITS:
        raise UnknownNameError(f"variant {kind!r} of POPE", f"there are {', '.join(SPLITS)}", "use one of these")
    rows = _of_kind(rows_of(_file(path, kind), split), kind)
    finder = Finder(image_folder, ("val2014", "images"), allow_outside=allow_outside)
    spoken, items, dropped = candidates_of(candidates, ("yes", "no")), [], Counter[str]()
    for row in rows:
        image = finder.of(row, "image", name="image_source")
        text = row.text("text" if "text" in row.values else "question")
        question = Question(text=with_ending(text, ending), candidates=spoken, blanked=ending)
        answer = row.choice("label" if "label" in row.values else "answer", ("yes", "no"))
        items.append(Item(image=image, question=question, answer=answer))
    return natural_task(
        f"pope/{kind}",
        unique(items, dropped),
        ("yes", "no"),
        SOURCE,
        crossable=True,
        strata_by_answer=True,
        default_design="rows",
        questions_enumerated=True,
        dropped=dropped,
        n=n,
        seed=seed,
        max_bad_images=max_bad_images,
    )


def rows_of(path: str, split: str = "test") -> list[Row]:
    """POPE's rows, from the official JSON lines or the hub's table.

    Args:
        path: File or hub name.
        split: Split on the hub.
    """
    rows = read(path, ("image",), split=split, optional=("text", "question", "label", "answer", "category"))
    hub = "text" not in rows[0].values and "question" in rows[0].values
    needed = ("question", "answer", "image") if hub else ("image", "text", "label")
    for row in rows:
        for column in needed:
            if column not in row.values:
                row.fail(column, f"POPE's rows have {', '.join(needed)}")
    return rows


def _file(path: str, kind: str) -> str:
    """The file of a variant: ``coco_pope_random.json``, ``gqa_pope_seem_random.json`` and the like in a folder."""
    place = Path(path).expanduser()
    if not place.is_dir():
        other = [split for split in SPLITS if split != kind and split in place.name]
        if other and kind not in place.name:
            raise ConfigError(
                f"{path} is POPE's {other[0]} file", f"the variant asked for is {kind}", f"load 'pope/{other[0]}'"
            )
        return path
    files = sorted(file for file in place.glob(f"*pope*{kind}.json*") if file.is_file())
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ConfigError(f"{path} holds {names}", "they are different questions", "set path to one of these files")
    return str(files[0]) if files else path


def _of_kind(rows: list[Row], kind: str) -> list[Row]:
    """The rows of a variant, where the table says which row is whose; VLMEvalKit's names several in one cell."""
    kinds = [[part.strip() for part in (row.optional("category") or kind).lower().split(",")] for row in rows]
    chosen = [row for row, parts in zip(rows, kinds, strict=True) if kind in parts]
    if not chosen:
        raise DataError(
            f"{rows[0].source} has no row of category {kind!r}",
            f"its categories are {', '.join(sorted({part for parts in kinds for part in parts}))}",
            "choose another variant, or another file",
        )
    return chosen
