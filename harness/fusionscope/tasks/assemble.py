"""From rows of (image, question, answer) to a held-out task on its natural pairs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

import torch
from torch import Tensor

from fusionscope.errors import BadImageError, ConfigError, DataError
from fusionscope.tasks.sources.lazy import ImageSource, LazyImages
from fusionscope.tasks.task import HeldOutTask, Question, uniform_weights

ALPHABET = tuple(ascii_uppercase)
LETTERS = ALPHABET[:4]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question about one image.

    Args:
        image: The image; equal names are one image.
        question: The question; equal ones are one question.
        answer: Index of the right answer.
    """

    image: ImageSource
    question: Question
    answer: int


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a task comes from.

    Args:
        citation: How to cite it.
        licence: Its licence.
    """

    citation: str
    licence: str


def natural_task(
    name: str,
    items: Sequence[Item],
    answers: Sequence[str],
    source: Source,
    *,
    crossable: bool,
    dropped: Mapping[str, int],
    n: int | None = None,
    seed: int = 0,
    max_bad_images: int = 0,
) -> HeldOutTask:
    """Put a task together; an image asked about twice is one image, and a question asked twice one question.

    Args:
        name: Name of the task.
        items: What is asked.
        answers: The K answers.
        source: Citation and licence.
        crossable: Whether every question makes sense with every image; the truth of a pair that nobody asked is -1.
        dropped: Rows left out, by reason.
        n: Number of items, drawn without replacement; all by default.
        seed: Seed of the draw.
        max_bad_images: Maximum number of images that cannot be read and are left out; the items about them are counted.
            By default images are not opened before they are needed, and the first broken one fails.

    Raises:
        ConfigError: ``n`` is less than one.
        DataError: Nothing is left, or more images than allowed cannot be read.
    """
    if not items:
        raise DataError(f"task {name!r} has nothing left", f"left out: {dict(dropped)}", "check path and image_folder")
    if n is not None and n < 1:
        raise ConfigError(f"n={n}", "a task needs at least one item", "leave n out for all")
    chosen, broken = _drawn(items, n, seed, max_bad_images)
    if not chosen:
        raise DataError(f"task {name!r} has nothing left", f"{broken} items have broken images", "restore them")
    images = {item.image.name: item.image for item in chosen}
    row_of = {image: a for a, image in enumerate(images)}
    column_of = {question: b for b, question in enumerate(dict.fromkeys(item.question for item in chosen))}
    pairs = torch.tensor([[row_of[item.image.name], column_of[item.question]] for item in chosen])
    pair_answers = torch.tensor([item.answer for item in chosen])
    grid = _grid(pairs, pair_answers, (len(row_of), len(column_of))) if crossable else (None, {})
    counts = dict(dropped)
    if max_bad_images:
        counts["image cannot be read"] = broken
    if n is not None:
        counts["items not drawn"] = len(items) - len(chosen) - broken
    return HeldOutTask(
        name=name,
        images=LazyImages(images.values()),
        image_ids=list(images),
        questions=list(column_of),
        answers=tuple(answers),
        pairs=pairs,
        pair_answers=pair_answers,
        crossable=crossable,
        truth=grid[0],
        pair_weights=grid[1],
        dropped=counts,
        citation=source.citation,
        licence=source.licence,
    )


def _grid(pairs: Tensor, answers: Tensor, shape: tuple[int, int]) -> tuple[Tensor, dict[str, Tensor]]:
    """Truth and weights over all images and questions: gigabytes where there are tens of thousands of each."""
    truth = torch.full(shape, -1)
    truth[pairs[:, 0], pairs[:, 1]] = answers
    weights = torch.zeros(shape, dtype=torch.float64)
    weights.index_put_(tuple(pairs.T), torch.ones(len(pairs), dtype=torch.float64), accumulate=True)
    return truth, {"uniform": uniform_weights(*shape), "natural": weights / weights.sum()}


def _drawn(items: Sequence[Item], n: int | None, seed: int, max_bad_images: int) -> tuple[list[Item], int]:
    """Items in their order: all, or ``n`` drawn; and how many were passed over for images that cannot be read."""
    order = list(range(len(items)))
    if n is not None and n < len(items):
        order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist()
    wanted = len(items) if n is None else n
    if not max_bad_images:
        return [items[i] for i in sorted(order[:wanted])], 0
    good: list[int] = []
    broken, failures = 0, dict[str, str | None]()
    for i in order:
        if len(good) == wanted:
            break
        if _failure(items[i].image, failures) is None:
            good.append(i)
        else:
            broken += 1
            _check_cap([why for why in failures.values() if why is not None], max_bad_images)
    return [items[i] for i in sorted(good)], broken


def _failure(image: ImageSource, known: dict[str, str | None]) -> str | None:
    """Why an image cannot be read, or None; each image is read once."""
    if image.name not in known:
        try:
            image.open()
            known[image.name] = None
        except BadImageError as error:
            known[image.name] = error.what
    return known[image.name]


def _check_cap(failures: Sequence[str], max_bad_images: int) -> None:
    if len(failures) > max_bad_images:
        raise DataError(
            f"more than {max_bad_images} images cannot be read: {'; '.join(failures[:4])}",
            f"max_bad_images allows {max_bad_images}",
            "restore them, or raise max_bad_images",
        )


def unique(items: Sequence[Item], dropped: Counter[str]) -> list[Item]:
    """The items without repetitions; those that contradict each other are left out and counted.

    Args:
        items: What is asked.
        dropped: Counts of what was left out; added to.
    """
    answers: dict[tuple[str, Question], set[int]] = {}
    for item in items:
        answers.setdefault((item.image.name, item.question), set()).add(item.answer)
    kept: dict[tuple[str, Question], Item] = {}
    for item in items:
        key = (item.image.name, item.question)
        if len(answers[key]) > 1:
            dropped["same image and question, another answer"] += 1
        elif key in kept:
            dropped["asked twice"] += 1
        else:
            kept[key] = item
    return list(kept.values())


def lettered(question: str, options: Sequence[str], ending: str) -> Question:
    """A multiple-choice question with its options in the text, answered by a letter.

    Args:
        question: What is asked, hint included.
        options: The options in order.
        ending: What the turn ends with.
    """
    shown = "\n".join(f"{letter}. {option}" for letter, option in zip(ALPHABET, options, strict=False))
    return Question(
        text=f"{question}\n{shown}\n{ending}".strip(),
        candidates=ALPHABET[: len(options)],
        blanked=f"{shown}\n{ending}".strip(),
    )
