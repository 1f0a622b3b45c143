"""From rows of (image, question, answer) to a held-out task on its natural pairs."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import torch
from torch import Tensor

from fusionscope.errors import BadImageError, ConfigError, DataError
from fusionscope.tasks.law import RowLaw, benchmark_law
from fusionscope.tasks.sources.lazy import ImageSource, LazyImages, MissingImage, failure
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
    strata_by_answer: bool = False,
    default_design: str | None = None,
    questions_enumerated: bool = False,
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
        strata_by_answer: Under a population law, an image's questions are drawn answer by answer.
        default_design: The design that the task is probed in where none is named.
        questions_enumerated: The questions are a finite list, all of it.
        dropped: Rows left out, by reason.
        n: Number of images, drawn without replacement, each with all of its items: items drawn one by one would be a
            sample of neither law. All by default, and with a warning where there are fewer.
        seed: Seed of the draw.
        max_bad_images: Maximum number of images that are missing or cannot be read and are left out, with a warning and
            the items about them counted; all are opened for it. By default none may be missing, and the first that
            cannot be read fails when it is opened.

    Raises:
        ConfigError: ``n``, ``seed`` or ``max_bad_images`` is no number, or too low.
        DataError: Nothing is left, or more images than allowed are missing or cannot be read.
    """
    _check_number("n", 1 if n is None else n, 1, "a task needs at least one item; leave n out for all")
    _check_number("seed", seed, 0, "it seeds the draw")
    _check_number("max_bad_images", max_bad_images, 0, "it is the maximum number of images that may be left out")
    if not items:
        raise DataError(f"task {name!r} has nothing left", f"left out: {dict(dropped)}", "check path and image_folder")
    kept, lost = _drawn(name, items, n, seed, max_bad_images)
    chosen = [items[i] for i in kept]
    images = {item.image.name: item.image for item in chosen}
    pairs, questions = _pairs(chosen)
    pair_answers = torch.tensor([item.answer for item in chosen])
    truth, weights = _grid(pairs, pair_answers, (len(images), len(questions))) if crossable else (None, {})
    laws = (
        RowLaw(strata=pair_answers if strata_by_answer else None),
        benchmark_law(_pairs(items)[0], torch.tensor(kept)),
    )
    not_drawn = len({item.image.name for item in items} - set(images)) - sum(lost.values())
    counts = {**dropped, **lost, "images not drawn": not_drawn}
    return HeldOutTask(
        name=name,
        images=LazyImages(images.values()),
        image_ids=list(images),
        questions=questions,
        answers=tuple(answers),
        pairs=pairs,
        pair_answers=pair_answers,
        crossable=crossable,
        truth=truth,
        pair_weights=weights,
        row_laws={law.name: law for law in laws},
        default_design=default_design,
        questions_enumerated=questions_enumerated,
        dropped={reason: count for reason, count in counts.items() if count},
        citation=source.citation,
        licence=source.licence,
    )


def _check_number(name: str, value: Any, least: int, why: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name}={value!r}", why, f"give a whole number from {least}")


def _pairs(items: Sequence[Item]) -> tuple[Tensor, list[Question]]:
    """(image, question) of each item, numbered in the order of their first items, int64 [N, 2]; the questions."""
    row_of = {name: a for a, name in enumerate(dict.fromkeys(item.image.name for item in items))}
    column_of = {question: b for b, question in enumerate(dict.fromkeys(item.question for item in items))}
    return torch.tensor([[row_of[item.image.name], column_of[item.question]] for item in items]), list(column_of)


def _grid(pairs: Tensor, answers: Tensor, shape: tuple[int, int]) -> tuple[Tensor, dict[str, Tensor]]:
    """Truth and weights over all images and questions: gigabytes where there are tens of thousands of each."""
    truth = torch.full(shape, -1)
    truth[pairs[:, 0], pairs[:, 1]] = answers
    return truth, {"uniform": uniform_weights(*shape)}


def _drawn(
    name: str, items: Sequence[Item], n: int | None, seed: int, max_bad_images: int
) -> tuple[list[int], dict[str, int]]:
    """Places of the items about all images, or ``n`` drawn ones; images passed over, by what is wrong with them."""
    images = {item.image.name: item.image for item in items}
    names = list(images)
    if n is not None and n < len(names):
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
        names = [names[i] for i in order]
    if n is not None and n > len(names):
        warnings.warn(f"task {name!r}: n={n}, but it has {len(names)} images; all are used", stacklevel=4)
    wanted = len(names) if n is None else n
    good: set[str] = set()
    lost: Counter[str] = Counter()
    bad: dict[str, BadImageError] = {}
    for image in names:
        if len(good) == wanted or (max_bad_images and len(bad) > max_bad_images):
            break
        missing = isinstance(images[image], MissingImage)
        error = failure(images[image]) if max_bad_images or missing else None
        if error is None:
            good.add(image)
        else:
            bad[image] = error
            lost["image missing" if missing else "image cannot be read"] += 1
    _tell(name, bad, lost, max_bad_images, left=len(good))
    return [i for i, item in enumerate(items) if item.image.name in good], dict(lost)


def _tell(name: str, bad: Mapping[str, BadImageError], lost: Counter[str], max_bad_images: int, left: int) -> None:
    """Refuse more bad images than allowed, and warn of those that are left out."""
    if not bad:
        return
    reasons = [error.what for error in bad.values()]
    shown = "; ".join(reasons[:4]) + ("; ..." if len(bad) > 4 else "")
    if len(bad) > max_bad_images:
        raise DataError(
            f"task {name!r}: {'more than ' if max_bad_images else ''}{max_bad_images or len(bad)} images are missing "
            f"or cannot be read: {shown}",
            f"max_bad_images allows {max_bad_images}; {next(iter(bad.values())).why}",
            "restore them, set image_folder to where they are, or raise max_bad_images",
        )
    if not left:
        raise DataError(f"task {name!r} has nothing left: {shown}", f"left out: {dict(lost)}", "restore the images")
    warnings.warn(
        f"task {name!r}: {len(bad)} images (of {max_bad_images} allowed) are left out, with all that is asked about "
        f"them: {shown}",
        stacklevel=4,
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
        text=with_ending(f"{question}\n{shown}", ending),
        candidates=ALPHABET[: len(options)],
        blanked=with_ending(shown, ending),
    )


def with_ending(text: str, ending: str) -> str:
    """A turn with its last line, which is not added again to a text that ends with it.

    Args:
        text: The turn.
        ending: Its last line, or "".

    >>> with_ending("A dog?", "Answer yes or no."), with_ending("A dog? Answer yes or no.", "Answer yes or no.")
    ('A dog?\\nAnswer yes or no.', 'A dog? Answer yes or no.')

    Raises:
        ConfigError: The ending is no text.
    """
    if not isinstance(ending, str):
        raise ConfigError(f"ending={ending!r}", "it is a text", 'write "" for none')
    text, ending = text.strip(), ending.strip()
    return text if text.endswith(ending) else f"{text}\n{ending}"


def candidates_of(candidates: Sequence[str], answers: Sequence[str]) -> tuple[str, ...]:
    """What the model may say, checked.

    Args:
        candidates: As they are set.
        answers: The answers that they stand for.

    Raises:
        ConfigError: They are not as many texts; YAML reads an unquoted ``Yes`` as true.
    """
    if (
        isinstance(candidates, str)
        or len(candidates) != len(answers)
        or not all(isinstance(candidate, str) for candidate in candidates)
    ):
        raise ConfigError(
            f"candidates={candidates!r}",
            f"they say {' and '.join(answers)}, as texts (YAML takes an unquoted Yes for true)",
            'write ["Yes", "No"], in quotation marks',
        )
    return tuple(candidates)
