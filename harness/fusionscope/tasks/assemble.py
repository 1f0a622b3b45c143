"""From rows of (picture, question, answer) to a held-out task on its natural pairs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

import torch
from torch import Tensor

from fusionscope.errors import ConfigError, DataError
from fusionscope.tasks.sources.images import Opener, Pictures, read_picture
from fusionscope.tasks.task import HeldOutTask, Question, uniform_weights

ALPHABET = tuple(ascii_uppercase)
LETTERS = ALPHABET[:4]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question about one picture.

    Args:
        picture: The picture's id; equal ids are one picture.
        opener: What opens it.
        question: The question; equal ones are one question.
        answer: Index of the right answer.
    """

    picture: str
    opener: Opener
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
    bad_pictures: int = 0,
) -> HeldOutTask:
    """Put a task together; a picture asked about twice is one picture, and a question asked twice one question.

    Args:
        name: Name of the task.
        items: What is asked.
        answers: The K answers.
        source: Citation and licence.
        crossable: Whether every question makes sense with every picture; the truth of a pair that nobody asked is -1.
        dropped: Rows left out, by reason.
        n: So many items, drawn without replacement; all by default.
        seed: Seed of the draw.
        bad_pictures: So many pictures that cannot be read are left out, and the items about them counted. By default
            pictures are not looked at before they are needed, and the first broken one fails.

    Raises:
        ConfigError: ``n`` is less than one.
        DataError: Nothing is left, or more pictures than allowed cannot be read.
    """
    if not items:
        raise DataError(f"task {name!r} has nothing left", f"left out: {dict(dropped)}", "check path and image_folder")
    if n is not None and n < 1:
        raise ConfigError(f"n={n}", "a task needs at least one item", "leave n out for all")
    chosen, broken = _drawn(items, n, seed, bad_pictures)
    if not chosen:
        raise DataError(f"task {name!r} has nothing left", f"{broken} items have broken pictures", "restore them")
    pictures = {item.picture: item.opener for item in chosen}
    at = {picture: a for a, picture in enumerate(pictures)}
    asked = {question: b for b, question in enumerate(dict.fromkeys(item.question for item in chosen))}
    pairs = torch.tensor([[at[item.picture], asked[item.question]] for item in chosen])
    found = torch.tensor([item.answer for item in chosen])
    truth, weights = _grid(pairs, found, (len(at), len(asked))) if crossable else (None, {})
    return HeldOutTask(
        name=name,
        images=Pictures(pictures),
        image_ids=list(at),
        questions=list(asked),
        answers=tuple(answers),
        pairs=pairs,
        pair_answers=found,
        crossable=crossable,
        truth=truth,
        pair_weights=weights,
        dropped={
            **dropped,
            **({"picture cannot be read": broken} if bad_pictures else {}),
            **({"items not drawn": len(items) - len(chosen) - broken} if n is not None else {}),
        },
        citation=source.citation,
        licence=source.licence,
    )


def _grid(pairs: Tensor, answers: Tensor, shape: tuple[int, int]) -> tuple[Tensor, dict[str, Tensor]]:
    """Truth and weights over all pictures and questions: gigabytes where there are tens of thousands of each."""
    truth = torch.full(shape, -1)
    truth[pairs[:, 0], pairs[:, 1]] = answers
    weights = torch.zeros(shape, dtype=torch.float64)
    weights.index_put_(tuple(pairs.T), torch.ones(len(pairs), dtype=torch.float64), accumulate=True)
    return truth, {"uniform": uniform_weights(*shape), "natural": weights / weights.sum()}


def _drawn(items: Sequence[Item], n: int | None, seed: int, bad_pictures: int) -> tuple[list[Item], int]:
    """Items in their order: all, or ``n`` drawn; and how many were passed over for pictures that cannot be read."""
    order = list(range(len(items)))
    if n is not None and n < len(items):
        order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist()
    wanted = len(items) if n is None else n
    if not bad_pictures:
        return [items[i] for i in sorted(order[:wanted])], 0
    good: list[int] = []
    broken, failures = 0, dict[str, str | None]()
    for i in order:
        if len(good) == wanted:
            break
        if _failure(items[i], failures) is None:
            good.append(i)
        else:
            broken += 1
            _check_cap([why for why in failures.values() if why is not None], bad_pictures)
    return [items[i] for i in sorted(good)], broken


def _failure(item: Item, known: dict[str, str | None]) -> str | None:
    """Why an item's picture cannot be read, or None; each picture is read once."""
    if item.picture not in known:
        try:
            read_picture(item.picture, item.opener)
            known[item.picture] = None
        except DataError as error:
            known[item.picture] = error.what
    return known[item.picture]


def _check_cap(failures: Sequence[str], bad_pictures: int) -> None:
    if len(failures) > bad_pictures:
        raise DataError(
            f"more than {bad_pictures} pictures cannot be read: {'; '.join(failures[:4])}",
            "so many were allowed (bad_pictures)",
            "restore them, or raise bad_pictures",
        )


def unique(items: Sequence[Item], dropped: Counter[str]) -> list[Item]:
    """The items without repetitions; those that contradict each other are left out and counted.

    Args:
        items: What is asked.
        dropped: Counts of what was left out; added to.
    """
    answers: dict[tuple[str, Question], set[int]] = {}
    for item in items:
        answers.setdefault((item.picture, item.question), set()).add(item.answer)
    kept: dict[tuple[str, Question], Item] = {}
    for item in items:
        key = (item.picture, item.question)
        if len(answers[key]) > 1:
            dropped["same picture and question, another answer"] += 1
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
