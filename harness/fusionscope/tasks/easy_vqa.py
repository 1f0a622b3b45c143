"""easy-VQA: 5,000 images of one coloured shape each and 48,248 questions, made by others and installable from PyPI.

Source: Victor Zhou, "easy-VQA" (2019), package ``easy-vqa`` 1.0, MIT licence. Held-out tasks on its own test split;
training data on its other one is `fusionscope.data.easy_vqa`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fusionscope.errors import MissingDependencyError, UnknownNameError
from fusionscope.tasks.sources.lazy import FileImage, LazyImages
from fusionscope.tasks.task import HeldOutTask, Question, uniform_weights

Part = Literal["train", "test"]
Kind = Literal["color", "shape", "yesno"]

COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")
COLOR_QUESTIONS = ("what color is the shape?", "what is the color of the shape?")
SHAPE_QUESTIONS = ("what shape does the image contain?", "what shape is in the image?", "what shape is present?")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an image shows, as far as the questions about it tell.

    Args:
        colors: Colours that no answer excludes; one where the colour is known.
        shapes: The same for the shape.
    """

    colors: frozenset[str] = frozenset(COLORS)
    shapes: frozenset[str] = frozenset(SHAPES)

    @property
    def known(self) -> bool:
        """Whether colour and shape are both certain."""
        return len(self.colors) == len(self.shapes) == 1


def kind_of(answer: str) -> Kind:
    """The kind of a question, told by its answer."""
    return "color" if answer in COLORS else "shape" if answer in SHAPES else "yesno"


@cache
def facts(part: Part) -> dict[int, Facts]:
    """What each image shows, put together from the answers to all its questions.

    Args:
        part: The package's training or test split.
    """
    shown: dict[int, Facts] = {image: Facts() for image in image_paths(part)}
    for question, answer, image in questions_of(part):
        old = shown[image]
        shown[image] = Facts(
            colors=old.colors & _possible(question, answer, COLORS),
            shapes=old.shapes & _possible(question, answer, SHAPES),
        )
    return shown


def _possible(question: str, answer: str, values: tuple[str, ...]) -> frozenset[str]:
    """Values that an answered question leaves."""
    if answer in values:
        return frozenset({answer})
    named = frozenset(re.findall(r"\w+", question)) & frozenset(values)
    if not named:
        return frozenset(values)
    shown = answer not in ("yes", "no") or (answer == "yes") != negated(question)
    return named if shown else frozenset(values) - named


def negated(question: str) -> bool:
    """Whether a yes/no question asks for absence ("is there not a blue shape?")."""
    return bool(re.search(r"\b(not|no)\b", question))


def load(variant: str = "", *, n_images: int = 256, n_questions: int | None = None, seed: int = 0) -> HeldOutTask:
    """A held-out task on the test split.

    Only questions that make sense for every image are asked, so every variant may be crossed: "what color is the
    circle?" takes a circle for granted and is left out, as are images whose colour or shape the questions don't
    tell. All questions of the kind are asked unless ``n_questions`` says fewer, so the question axis is enumerated;
    images are a sample.

    Args:
        variant: ``"open"`` (the default): what colour and what shape, 11 answers, which need image and question.
            ``"color"``: 8 answers, the image alone decides. ``"shape"``: 3 answers, the image alone decides.
            ``"yesno"``: is there, or is there not, a given colour or shape: the image, the question and its negation
            decide together.
        n_images: Images, drawn without replacement.
        n_questions: Questions, drawn without replacement.
        seed: Seed of both draws.

    Raises:
        UnknownNameError: No such variant.
    """
    name = checked(variant or "open", tuple(_VARIANTS), "variant of the task easy_vqa")
    answers, belongs, truth_of = _VARIANTS[name]
    known = {image: shown for image, shown in facts("test").items() if shown.known}
    images = sorted(drawn(sorted(known), n_images, seed))
    every = sorted({question for question, answer, _ in questions_of("test") if belongs(question, answer)})
    questions = sorted(drawn(every, n_questions, seed))
    truth = torch.tensor([[answers.index(truth_of(q, known[image])) for q in questions] for image in images])
    pairs, pair_answers = _natural(images, questions, answers)
    paths = image_paths("test")
    left_out = {
        "images of unknown colour or shape": len(facts("test")) - len(known),
        "images not drawn": len(known) - len(images),
        "questions not drawn": len(every) - len(questions),
    }
    return HeldOutTask(
        name=f"easy_vqa/{name}",
        images=LazyImages(FileImage(path=paths[image], name=f"{image}.png") for image in images),
        image_ids=[f"{image}.png" for image in images],
        questions=[Question(text=question, candidates=answers) for question in questions],
        answers=answers,
        pairs=pairs,
        pair_answers=pair_answers,
        crossable=True,
        truth=truth,
        pair_weights={"uniform": uniform_weights(len(images), len(questions))},
        questions_enumerated=len(questions) == len(every),
        dropped={reason: count for reason, count in left_out.items() if count},
        citation="Victor Zhou, easy-VQA, 2019, https://github.com/vzhou842/easy-VQA",
        licence="MIT",
    )


def _natural(images: list[int], questions: list[str], answers: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """The questions that the package itself asks about these images, and their answers."""
    at = {image: a for a, image in enumerate(images)}
    asked = {question: b for b, question in enumerate(questions)}
    there = [(at[i], asked[q], answers.index(a)) for q, a, i in questions_of("test") if i in at and q in asked]
    rows = torch.tensor(there, dtype=torch.int64).reshape(-1, 3)
    return rows[:, :2], rows[:, 2]


def _is_open(question: str, answer: str) -> bool:
    return question in COLOR_QUESTIONS or question in SHAPE_QUESTIONS


def _open_answer(question: str, shown: Facts) -> str:
    return min(shown.colors) if question in COLOR_QUESTIONS else min(shown.shapes)


def _yesno_answer(question: str, shown: Facts) -> str:
    words = set(re.findall(r"\w+", question))
    return "yes" if bool(words & (shown.colors | shown.shapes)) != negated(question) else "no"


_Variant = tuple[tuple[str, ...], Callable[[str, str], bool], Callable[[str, Facts], str]]
_VARIANTS: dict[str, _Variant] = {
    "open": (COLORS + SHAPES, _is_open, _open_answer),
    "color": (COLORS, lambda question, _: question in COLOR_QUESTIONS, _open_answer),
    "shape": (SHAPES, lambda question, _: question in SHAPE_QUESTIONS, _open_answer),
    "yesno": (("yes", "no"), lambda _, answer: answer in ("yes", "no"), _yesno_answer),
}


def drawn(items: list[Any], n: int | None, seed: int) -> list[Any]:
    """``n`` of the items, drawn without replacement; all where ``n`` is None or no less than there are."""
    if n is None or n >= len(items):
        return items
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist()
    return [items[i] for i in order[:n]]


def checked(value: Any, known: tuple[Any, ...], what: str) -> Any:
    """The value, refused where it is unknown.

    Raises:
        UnknownNameError: It is none of the known.
    """
    if value not in known:
        raise UnknownNameError(
            f"unknown {what} {value!r}", f"there are {', '.join(map(str, known))}", "use one of these"
        )
    return value


@cache
def questions_of(part: Part) -> tuple[tuple[str, str, int], ...]:
    """The (question, answer, number of the image) of a split."""
    source = _package()
    read = {"train": source.get_train_questions, "test": source.get_test_questions}
    return tuple(zip(*read[checked(part, get_args(Part), "part of easy-VQA")](), strict=True))


@cache
def image_paths(part: Part) -> dict[int, Path]:
    """The image files of a split, by number."""
    source = _package()
    read = {"train": source.get_train_image_paths, "test": source.get_test_image_paths}
    paths = read[checked(part, get_args(Part), "part of easy-VQA")]()
    return {image: Path(path) for image, path in sorted(paths.items())}


def _package() -> ModuleType:
    try:
        import easy_vqa
    except ImportError as error:
        raise MissingDependencyError(
            "easy-VQA is not installed",
            "its images and questions come from the package easy-vqa",
            "pip install 'fusionscope[easy-vqa]'",
        ) from error
    module: ModuleType = easy_vqa
    return module
