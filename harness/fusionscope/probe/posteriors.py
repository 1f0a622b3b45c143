"""What a design makes of a model and a task: the model's answer distributions at every probed layer.

Three classes, for the shapes that there are: every image with every question, pairs with what stands for either
modality alone, and pairs as they are. Each knows how to become
the sample that an estimator takes, and what accuracies and diagnostics it holds, so that nobody asks which it is.

Shapes: A images, B questions, N pairs, K answers, L layers.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from fusionscope.pid.estimators import GridSample, PairSample, RowSample, Sample
from fusionscope.tasks import HeldOutTask, RowLaw

FALLBACK_MASS = 0.3
"""Mass of the options under which the paper (arXiv 2603.29676) replaces a distribution by the uniform one."""
ACCURACIES = ("accuracy", "accuracy_without_image", "accuracy_without_text")


@dataclass(frozen=True, kw_only=True)
class View:
    """Posteriors under one law of questions.

    Args:
        sample: What an estimator takes.
        accuracies: Accuracy with both modalities, without the image and without the text, float64 [L] each; NaN where
            no answer is known.
        diagnostics: Option mass, fallback rate and marginal mismatch, float64 [L] each.
        n: Pairs that were run.
        n_images: Images among them.
        n_questions: Questions among them.
    """

    sample: Sample
    accuracies: Mapping[str, Tensor]
    diagnostics: Mapping[str, Tensor]
    n: int
    n_images: int
    n_questions: int


@dataclass(frozen=True, kw_only=True)
class Posteriors(ABC):
    """What all shapes of posteriors have in common.

    Args:
        task: The task's name.
        design: Name of the design.
        layers: Layer numbers, in the order of the leading dimension.
        n_layers: Decoder layers of the model.
        mass: float64 [L, A, B] or [L, N], the options' probability in the whole vocabulary.
        seconds: Wall time of the passes.
        tokens: Tokens that went through the decoder, padding left out.
        batch_rows: Sequences per pass that fitted.
        details: What a design reports besides.
    """

    task: str
    design: str
    layers: tuple[int, ...]
    n_layers: int
    mass: Tensor
    seconds: float = 0.0
    tokens: int = 0
    batch_rows: int = 0
    details: Mapping[str, float] = field(default_factory=dict)

    @abstractmethod
    def finite_layers(self) -> Tensor:
        """Which layers hold finite numbers alone, bool [L]."""

    @abstractmethod
    def with_uniform(self, layers: Tensor) -> Self:
        """The posteriors with uniform distributions at some layers.

        Args:
            layers: bool [L], where.
        """

    @abstractmethod
    def under(self, law: str, task: HeldOutTask) -> View:
        """The posteriors under a law of questions.

        Args:
            law: One of the design's laws for the task.
            task: The task that was run.
        """


@dataclass(frozen=True, kw_only=True)
class GridPosteriors(Posteriors):
    """Every image with every question.

    Args:
        conditionals: float64 [L, A, B, K], p(y | image a, question b).
    """

    conditionals: Tensor

    def finite_layers(self) -> Tensor:
        return _finite(self.conditionals)

    def with_uniform(self, layers: Tensor) -> Self:
        return replace(self, conditionals=_uniform_where(layers, self.conditionals))

    def under(self, law: str, task: HeldOutTask) -> View:
        weights = task.pair_weights[law]
        images, questions = weights.shape
        return View(
            sample=GridSample(
                conditionals=self.conditionals,
                weights=weights,
                images_enumerated=task.images_enumerated,
                questions_enumerated=task.questions_enumerated,
                images_balanced=task.images_balanced,
                questions_balanced=task.questions_balanced,
            ),
            accuracies=accuracies(self.conditionals, weights, task.truth),
            diagnostics={
                "option_mass": (self.mass * weights).sum((-1, -2)),
                "fallback_rate": ((self.mass < FALLBACK_MASS) * weights).sum((-1, -2)),
                "marginal_mismatch": torch.zeros(len(self.layers)),
            },
            n=int((weights > 0).sum()),
            n_images=images,
            n_questions=questions,
        )


@dataclass(frozen=True, kw_only=True)
class PairPosteriors(Posteriors):
    """Chosen pairs of an image and a question.

    Args:
        joint: float64 [L, N, K], p(y | image, question) of each pair.
        vision: float64 [L, N, K], p(y | image).
        language: float64 [L, N, K], p(y | question).
        pairs: int64 [N, 2], the pairs.
        pair_answers: int64 [N], their right answers, -1 where unknown.
        features_vision: Features of each pair's image [N, D], where the design has any.
        features_language: Features of each pair's question [N, D], where the design has any.
        rates: Diagnostics of the design's own, float64 [L] each.
    """

    joint: Tensor
    vision: Tensor
    language: Tensor
    pairs: Tensor
    pair_answers: Tensor
    features_vision: Tensor | None = None
    features_language: Tensor | None = None
    rates: Mapping[str, Tensor] = field(default_factory=dict)

    def finite_layers(self) -> Tensor:
        return _finite(self.joint) & _finite(self.vision) & _finite(self.language)

    def with_uniform(self, layers: Tensor) -> Self:
        return replace(
            self,
            joint=_uniform_where(layers, self.joint),
            vision=_uniform_where(layers, self.vision),
            language=_uniform_where(layers, self.language),
        )

    def under(self, law: str, task: HeldOutTask) -> View:
        known = self.pair_answers >= 0
        answers = self.pair_answers[known]
        by_modality = zip(ACCURACIES, (self.joint, self.language, self.vision), strict=True)
        means = torch.stack([p.mean(1) for p in (self.joint, self.vision, self.language)])
        images, questions = self.pairs.T
        return View(
            sample=PairSample(
                joint=self.joint,
                vision=self.vision,
                language=self.language,
                images=images,
                questions=questions,
                features_vision=self.features_vision,
                features_language=self.features_language,
            ),
            accuracies={name: (p[:, known].argmax(-1) == answers).double().mean(-1) for name, p in by_modality},
            diagnostics={
                "option_mass": self.mass.mean(-1),
                "fallback_rate": (self.mass < FALLBACK_MASS).double().mean(-1),
                "marginal_mismatch": (means.unsqueeze(0) - means.unsqueeze(1)).abs().sum(-1).amax((0, 1)) / 2,
                **self.rates,
            },
            n=len(self.pairs),
            n_images=len(images.unique()),
            n_questions=len(questions.unique()),
        )


@dataclass(frozen=True, kw_only=True)
class RowPosteriors(Posteriors):
    """Natural pairs as they are: nothing stands for either modality alone.

    Args:
        joint: float64 [L, N, K], p(y | image, question) of each pair.
        pairs: int64 [N, 2], the pairs.
        pair_answers: int64 [N], their right answers, -1 where unknown.
        laws: The laws of questions under which they can stand, by name, about these pairs.
    """

    joint: Tensor
    pairs: Tensor
    pair_answers: Tensor
    laws: Mapping[str, RowLaw]

    def finite_layers(self) -> Tensor:
        return _finite(self.joint)

    def with_uniform(self, layers: Tensor) -> Self:
        return replace(self, joint=_uniform_where(layers, self.joint))

    def under(self, law: str, task: HeldOutTask) -> View:
        images, questions = self.pairs.T
        rows = self.laws[law]
        known = self.pair_answers >= 0
        return View(
            sample=RowSample(
                joint=self.joint,
                images=images,
                questions=questions,
                law=rows.name,
                strata=rows.strata,
                questions_available=rows.questions_available,
                images_available=rows.images_available,
                images_total=rows.images_total,
                questions_enumerated=task.questions_enumerated and rows.name == "population",
            ),
            accuracies={
                "accuracy": (self.joint[:, known].argmax(-1) == self.pair_answers[known]).double().mean(-1),
                "accuracy_without_image": _unknown(self.joint),
                "accuracy_without_text": _unknown(self.joint),
            },
            diagnostics={
                "option_mass": self.mass.mean(-1),
                "fallback_rate": (self.mass < FALLBACK_MASS).double().mean(-1),
            },
            n=len(self.pairs),
            n_images=len(images.unique()),
            n_questions=len(questions.unique()),
        )


def _unknown(p_LNK: Tensor) -> Tensor:
    return torch.full(p_LNK.shape[:1], float("nan"), dtype=torch.float64)


def accuracies(p_LABK: Tensor, weights: Tensor, truth: Tensor | None) -> dict[str, Tensor]:
    """Accuracy with both modalities and without either, float64 [L] each.

    Without the image the answer to question b is the most probable one of the mean over images; pairs whose answer is
    not known (-1) do not count.

    Args:
        p_LABK: Posteriors of the grid.
        weights: float64 [A, B] over pairs.
        truth: int64 [A, B] or None.
    """
    if truth is None:
        return {name: torch.full(p_LABK.shape[:1], float("nan"), dtype=torch.float64) for name in ACCURACIES}
    joint = weights.unsqueeze(-1) * p_LABK
    answers = (
        p_LABK.argmax(-1),
        joint.sum(1, keepdim=True).argmax(-1).expand(p_LABK.shape[:-1]),
        joint.sum(2, keepdim=True).argmax(-1).expand(p_LABK.shape[:-1]),
    )
    known = weights * (truth >= 0)
    return {
        name: ((answer == truth) * known).sum((-1, -2)) / known.sum()
        for name, answer in zip(ACCURACIES, answers, strict=True)
    }


def _finite(p: Tensor) -> Tensor:
    return p.isfinite().flatten(1).all(1)


def _uniform_where(layers: Tensor, p: Tensor) -> Tensor:
    return torch.where(layers.view(-1, *[1] * (p.ndim - 1)), 1 / p.shape[-1], p)
