"""From rows of (picture, question, answer) to a held-out task on its natural pairs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from fusionscope.data.pictures import Opener, Pictures
from fusionscope.data.task import HeldOutTask, Question, uniform_weights
from fusionscope.errors import DataError

LETTERS = ("A", "B", "C", "D")


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

    Raises:
        DataError: Nothing is left, or the same question about the same picture has two answers.
    """
    if not items:
        raise DataError(f"task {name!r} has nothing left", f"left out: {dict(dropped)}", "check path and image_folder")
    chosen = list(items)
    if n is not None and n < len(items):
        order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed))[:n].sort().values
        chosen = [items[i] for i in order.tolist()]
    pictures = {item.picture: item.opener for item in chosen}
    at = {picture: a for a, picture in enumerate(pictures)}
    asked = {question: b for b, question in enumerate(dict.fromkeys(item.question for item in chosen))}
    pairs = torch.tensor([[at[item.picture], asked[item.question]] for item in chosen])
    found = torch.tensor([item.answer for item in chosen])
    weights = torch.zeros(len(at), len(asked), dtype=torch.float64)
    weights.index_put_(tuple(pairs.T), torch.ones(len(chosen), dtype=torch.float64), accumulate=True)
    grid = {"uniform": uniform_weights(*weights.shape), "natural": weights / weights.sum()}
    truth = None
    if crossable:
        truth = torch.full(weights.shape, -1)
        truth[pairs[:, 0], pairs[:, 1]] = found
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
        pair_weights=grid if crossable else {},
        dropped={**dropped, **({"items not drawn": len(items) - len(chosen)} if n is not None else {})},
        citation=source.citation,
        licence=source.licence,
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
    shown = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return Question(
        text=f"{question}\n{shown}\n{ending}".strip(),
        candidates=LETTERS[: len(options)],
        blanked=f"{shown}\n{ending}".strip(),
    )
