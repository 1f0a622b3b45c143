"""POPE: is there such an object in the image?

Reference: Li et al. 2023, "Evaluating Object Hallucination in Large Vision-Language Models", EMNLP.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fusionscope.errors import ConfigError, DataError, UnknownNameError
from fusionscope.tasks.assemble import Item, Source, candidates_of, natural_task, unique, with_ending
from fusionscope.tasks.pope_rule import Annotated, asked, question_text, random_law, read_annotations, vocabulary
from fusionscope.tasks.sources.finder import Finder
from fusionscope.tasks.sources.lazy import ImageSource
from fusionscope.tasks.sources.row import Row
from fusionscope.tasks.sources.tables import read
from fusionscope.tasks.task import HeldOutTask, Question, uniform_weights

SOURCE = Source(citation="Li et al. 2023, POPE, EMNLP, https://github.com/AoiDragon/POPE", licence="MIT (images: COCO)")
SPLITS = ("random", "popular", "adversarial")


def load(
    variant: str = "",
    *,
    path: str | None = None,
    annotations: str | None = None,
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

    An image's list of six questions is the benchmark's law, and the default is to run it (design ``"rows"``), whole
    images at a time. "Is there a car in the image?" makes sense with every image, so the task may be crossed too: then
    nearly all pairs are about absent objects, which is another law of questions. With POPE's annotations of the images
    the law of the *random* variant over all absent objects is known: crossing under the law ``"pope"`` runs it exactly.

    Args:
        variant: ``"random"`` (the default), ``"popular"`` or ``"adversarial"``.
        path: The official file (of COCO, A-OKVQA or GQA), the folder of the three, VLMEvalKit's ``POPE.tsv``, or the
            hub's table (``"hub:lmms-lab/POPE"``, or its Parquet files), whose column ``category`` names the variants.
        annotations: In place of ``path``: JSON lines ``{"image": ..., "objects": [...]}`` of the images, as POPE's own
            generator reads them. The questions are made by its rule, about any images that are annotated.
        image_folder: COCO's val2014 images, or GQA's; a folder or a .zip or .tar file.
        ending: Last line of the user's turn.
        candidates: How the model says yes and no.
        n: Number of images, drawn without replacement, each with all of its questions.
        seed: Seed of the draw.
        split: Split on the hub.
        max_bad_images: Maximum number of images that are left out because they are missing or cannot be read (opens
            all); by default none may be missing, and the first that is broken fails when it is opened.
        allow_outside: Whether names of images may lead out of ``image_folder`` (``..``, absolute, symbolic links).

    Raises:
        UnknownNameError: No such variant.
        ConfigError: Neither file nor annotations, or both; the file's name says another variant, or a folder holds none
            or several files of it.
        DataError: The file is not POPE's.
    """
    kind = variant or "random"
    if kind not in SPLITS:
        raise UnknownNameError(f"variant {kind!r} of POPE", f"there are {', '.join(SPLITS)}", "use one of these")
    finder = Finder(image_folder, ("val2014", "images"), allow_outside=allow_outside)
    spoken, dropped = candidates_of(candidates, ("yes", "no")), Counter[str]()

    def question(text: str) -> Question:
        return Question(text=with_ending(text, ending), candidates=spoken, blanked=ending)

    if (path is None) == (annotations is None):
        raise ConfigError(
            f"POPE with path={path!r} and annotations={annotations!r}",
            "its questions are read from a file, or made from annotations",
            "give one of the two",
        )
    annotated = None if annotations is None else _annotated(annotations, finder, split)
    if annotated is None:
        items = [
            Item(
                image=finder.of(row, "image", name="image_source"),
                question=question(row.text("text" if "text" in row.values else "question")),
                answer=row.choice("label" if "label" in row.values else "answer", ("yes", "no")),
            )
            for row in _of_kind(rows_of(_file(str(path), kind), split), kind)
        ]
    else:
        sources = {source.name: source for source, _ in annotated}
        items = [
            Item(image=sources[one.image], question=question(question_text(one.thing)), answer=int(not one.present))
            for one in asked([image for _, image in annotated], kind, seed=seed)
        ]
    task = natural_task(
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
    if annotated is None or kind != "random":
        return task
    things = list(vocabulary([image for _, image in annotated]))
    return _under_the_rule(task, {image.image: image for _, image in annotated}, things, question)


def _annotated(annotations: str, finder: Finder, split: str) -> list[tuple[ImageSource, Annotated]]:
    """Annotated images under the names of their files."""
    rows = read(annotations, ("image", "objects"), split=split)
    images = read_annotations([row.values for row in rows], annotations)
    row_of = {str(row.values["image"]): row for row in rows}
    sources = [finder.of(row_of[image.image], "image") for image in images]
    return [(source, replace(image, image=source.name)) for source, image in zip(sources, images, strict=True)]


def _under_the_rule(
    task: HeldOutTask, annotated: Mapping[str, Annotated], things: Sequence[str], question: Callable[[str], Question]
) -> HeldOutTask:
    """The task with a question about every object of the vocabulary, and the law of *random* over the grid."""
    questions = [question(question_text(thing)) for thing in things]
    column = {each: b for b, each in enumerate(questions)}
    weights, present = random_law([annotated[name] for name in task.image_ids], things)
    pairs = task.pairs.clone()
    pairs[:, 1] = torch.tensor([column[task.questions[b]] for b in task.pairs[:, 1].tolist()])
    return replace(
        task,
        questions=questions,
        pairs=pairs,
        truth=(~present).long(),
        pair_weights={"uniform": uniform_weights(*weights.shape), "pope": weights},
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
