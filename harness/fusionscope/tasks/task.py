"""Held-out tasks: what a probe asks a model, and what is known about the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.tasks.fingerprint import fingerprint_of
from fusionscope.tasks.law import RowLaw
from fusionscope.tasks.sources.lazy import LazyImages


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question, as the user's turn states it.

    Args:
        text: The user's turn without the image placeholder; the options are part of it where they are shown.
        candidates: What the model may answer, one string per answer of the task, in the task's order
            (``("A", "B", "C", "D")``, ``("yes", "no")``, or the answers themselves).
        blanked: The same turn with the question removed and the options kept, or None where there is no such form.
    """

    text: str
    candidates: tuple[str, ...]
    blanked: str | None = None

    def __post_init__(self) -> None:
        for text in (self.text, *self.candidates, self.blanked or ""):
            if not isinstance(text, str) or not _is_unicode(text):
                raise InputError(f"a question holds {text!r}", "it is no text, or no Unicode", "correct the question")
        if len(set(self.candidates)) < len(self.candidates):
            raise InputError(
                f"a question has the candidates {self.candidates}", "they stand for different answers", "correct them"
            )


@dataclass(frozen=True, kw_only=True)
class HeldOutTask:
    """Images, questions and a closed set of answers.

    Args:
        name: The name that records and TensorBoard tags carry, such as ``"sandbox/synergy"``; for people, `fingerprint`
            tells one task from another.
        images: A images: anything with ``len`` and ``[i] -> PIL.Image``; kept as a `LazyImages`, which opens them when
            they are asked for, upright, without transparency and in RGB.
        image_ids: A names of the images (of files).
        questions: B questions; every one has K candidates.
        answers: The K answers that Y ranges over, as a person would read them.
        pairs: int64 [N, 2], the natural pairs as (image index, question index).
        pair_answers: int64 [N], index of the right answer of each natural pair, -1 where none is known.
        crossable: Whether every question makes sense with every image.
        truth: int64 [A, B], the right answer of every pair of a crossable task, -1 where there is none; or None.
        pair_weights: Named laws of questions over the crossed grid, each float64 [A, B] summing to 1. ``"uniform"`` is
            always there for a crossable task; ``"natural"`` where the probability of every pair is known, which the
            few questions that a benchmark asks of an image do not tell.
        row_laws: The laws of questions under which the natural pairs can stand, by name.
        default_design: The design that it is probed in where none is named; None for crossing where every question
            makes sense with every image, else the natural pairs.
        images_enumerated: The images are the whole population, not a sample of it (no bias correction on this axis).
        questions_enumerated: The same for the questions.
        images_balanced: The images are a subset balanced by design: what the answers depend on is as frequent among
            them as in the population (no bias correction on this axis either, but a standard error).
        questions_balanced: The same for the questions.
        dropped: How many rows of the source were left out, by reason.
        citation: How to cite the source.
        licence: The licence of the source.
    """

    name: str
    images: Sequence[Any]
    image_ids: Sequence[str]
    questions: Sequence[Question]
    answers: tuple[str, ...]
    pairs: Tensor
    pair_answers: Tensor
    crossable: bool
    truth: Tensor | None = None
    pair_weights: Mapping[str, Tensor] = field(default_factory=dict)
    row_laws: Mapping[str, RowLaw] = field(default_factory=lambda: {"population": RowLaw()})
    default_design: str | None = None
    images_enumerated: bool = False
    questions_enumerated: bool = False
    images_balanced: bool = False
    questions_balanced: bool = False
    dropped: Mapping[str, int] = field(default_factory=dict)
    citation: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if len(self.image_ids) == len(self.images):
            object.__setattr__(self, "images", LazyImages.of(self.images, [str(name) for name in self.image_ids]))
        self._require(isinstance(self.name, str) and self.name.strip() != "", "has no name", "records carry it")
        self._check_sizes()
        self._check_pairs()
        self._check_grid()

    def _check_sizes(self) -> None:
        n_images, n_answers = len(self.images), len(self.answers)
        self._require(n_images > 0 and len(self.questions) > 0, "has no images or no questions", "a probe needs both")
        self._require(n_answers >= 2, f"has {n_answers} answers", "information about Y needs at least two")
        self._require(
            len(self.image_ids) == n_images, f"has {len(self.image_ids)} ids for {n_images} images", "one each"
        )
        for i, question in enumerate(self.questions):
            self._require(
                len(question.candidates) == n_answers,
                f"question {i} has {len(question.candidates)} candidates",
                f"every question needs {n_answers}, one per answer",
            )

    def _check_pairs(self) -> None:
        n_answers = len(self.answers)
        self._require(
            self.pairs.ndim == 2 and self.pairs.shape[1] == 2 and self.pair_answers.shape == self.pairs.shape[:1],
            f"has pairs {tuple(self.pairs.shape)} and pair_answers {tuple(self.pair_answers.shape)}",
            "they must be [N, 2] and [N]",
        )
        self._require(self.crossable or len(self.pairs) > 0, "has no pairs", "one that cannot be crossed is its pairs")
        sizes = torch.tensor([len(self.images), len(self.questions)])
        outside = self.pairs[((self.pairs < 0) | (self.pairs >= sizes)).any(1)].tolist()
        self._require(
            not outside, f"has pairs {outside[:5]}", f"they are indices of {sizes.tolist()} images and questions"
        )
        stray = self.pair_answers[(self.pair_answers < -1) | (self.pair_answers >= n_answers)].tolist()
        self._require(
            not stray,
            f"has pair_answers {stray[:5]}",
            f"they are indices of its {n_answers} answers, or -1 where none is known",
        )

    def _check_grid(self) -> None:
        shape = (len(self.images), len(self.questions))
        if self.truth is not None:
            self._require(self.truth.shape == shape, f"has truth {tuple(self.truth.shape)}", f"it is {list(shape)}")
            self._require(
                bool(((self.truth >= -1) & (self.truth < len(self.answers))).all()),
                f"has truth from {int(self.truth.min())} to {int(self.truth.max())}",
                f"it holds indices of its {len(self.answers)} answers, or -1 where none is known",
            )
        for name, law in self.row_laws.items():
            self._require(name == law.name, f"has the law {law.name!r} under the name {name!r}", "they are the same")
            for what, of_pairs in law.of_pairs().items():
                self._require(
                    of_pairs.shape == self.pair_answers.shape,
                    f"has {what} of shape {tuple(of_pairs.shape)} under the law {name!r}",
                    f"there are {len(self.pairs)} pairs",
                )
        for name, weights in self.pair_weights.items():
            self._require(
                weights.shape == shape and bool((weights >= 0).all()) and abs(float(weights.sum()) - 1) < 1e-9,
                f"has pair_weights[{name!r}] of shape {tuple(weights.shape)} and sum {float(weights.sum()):.6g}",
                f"weights are {list(shape)}, not negative, and sum to 1",
            )
        self._require(
            not self.crossable or "uniform" in self.pair_weights, "is crossable without uniform weights", "add them"
        )

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the task's content, equal for equal content under whatever name or path.

        Raises:
            BadImageError: An image's file cannot be read.
        """
        return fingerprint_of(self)

    def _require(self, ok: bool, what: str, why: str) -> None:
        if not ok:
            raise InputError(f"task {self.name!r} {what}", why, "correct the task's loader")


def _is_unicode(text: str) -> bool:
    """Whether it can be written: a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def uniform_weights(n_images: int, n_questions: int) -> Tensor:
    """Equal weights over a crossed grid, float64 [n_images, n_questions]."""
    return torch.full((n_images, n_questions), 1.0 / (n_images * n_questions), dtype=torch.float64)
