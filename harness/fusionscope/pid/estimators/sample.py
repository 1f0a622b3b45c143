"""What an estimator reads: a grid of images and questions, or pairs of them, at any number of layers.

Shapes: A images, B questions, N pairs, K answers, D features; leading dimensions are layers, L when flattened.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.pid.validate import check_same_shape, check_simplex, check_weights


@dataclass(frozen=True, kw_only=True)
class GridSample:
    """Every image with every question.

    Args:
        conditionals: p(y | a, b), [..., A, B, K], any floating dtype.
        weights: Weights of the pairs [A, B] or [..., A, B], summing to 1, zeros allowed; uniform by default.
        images_enumerated: The images are the whole population: no bias correction, no error on this axis.
        questions_enumerated: The same for the questions.
        images_balanced: The images are a subset balanced by design: what the answers depend on is as frequent among
            them as in the population. No bias correction on this axis; standard errors as of a random sample, which
            are at least those of a balanced one.
        questions_balanced: The same for the questions.
    """

    conditionals: Tensor
    weights: Tensor | None = None
    images_enumerated: bool = False
    questions_enumerated: bool = False
    images_balanced: bool = False
    questions_balanced: bool = False

    @property
    def leading(self) -> torch.Size:
        """The shape of the leading dimensions."""
        return self.conditionals.shape[:-3]

    @property
    def has_features(self) -> bool:
        """A grid holds no features."""
        return False

    @property
    def sampled(self) -> tuple[bool, bool]:
        """Whether the images, and the questions, are a sample."""
        return not self.images_enumerated, not self.questions_enumerated

    @property
    def random(self) -> tuple[bool, bool]:
        """Whether the images, and the questions, are a random sample, not a balanced one."""
        images, questions = self.sampled
        return images and not self.images_balanced, questions and not self.questions_balanced

    def flat(self) -> tuple[Tensor, Tensor]:
        """Checked conditionals float64 [L, A, B, K] and weights float64 [L, A, B], differentiable.

        Raises:
            InputError: NaN, negative, not normalised, empty or of too few dimensions; weights of another shape.
        """
        p = check_simplex("conditionals", self.conditionals, n_event_dims=1, min_ndim=3)
        w = check_weights("weights", self.weights, tuple(p.shape[-3:-1]), like=p)
        return p.reshape(-1, *p.shape[-3:]), w.reshape(-1, *w.shape[-2:])


@dataclass(frozen=True, kw_only=True)
class PairSample:
    """Pairs of an image and a question, each with three posteriors.

    Args:
        joint: p(y | image, question), [..., N, K], any floating dtype.
        vision: p(y | image), [..., N, K].
        language: p(y | question), [..., N, K].
        weights: Weights of the pairs, [N] or [..., N], summing to 1; uniform by default.
        images: Which image each pair shows, int64 [N]; None where every pair has its own.
        questions: Which question each pair asks, int64 [N]; None where every pair has its own.
        images_enumerated: The images are the whole population: no error comes from them.
        questions_enumerated: The same for the questions.
        features_vision: Input of a network about the image, [N, D] or [..., N, D]; None where there is none.
        features_language: Input of a network about the question, [N, D] or [..., N, D].
    """

    joint: Tensor
    vision: Tensor
    language: Tensor
    weights: Tensor | None = None
    images: Tensor | None = None
    questions: Tensor | None = None
    images_enumerated: bool = False
    questions_enumerated: bool = False
    features_vision: Tensor | None = None
    features_language: Tensor | None = None

    @property
    def leading(self) -> torch.Size:
        """The shape of the leading dimensions."""
        return self.joint.shape[:-2]

    @property
    def sampled(self) -> tuple[bool, bool]:
        """Whether the images, and the questions, are a sample."""
        return not self.images_enumerated, not self.questions_enumerated

    @property
    def has_features(self) -> bool:
        """Whether there are features of both sources."""
        return self.features_vision is not None and self.features_language is not None

    def flat(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Checked joint, vision and language posteriors float64 [L, N, K] and weights float64 [L, N], differentiable.

        Raises:
            InputError: Not distributions, shapes that do not match each other, weights of another shape.
        """
        named = (("joint", self.joint), ("vision", self.vision), ("language", self.language))
        joint, vision, language = (check_simplex(name, p, n_event_dims=1, min_ndim=2) for name, p in named)
        check_same_shape(*named)
        w = check_weights("weights", self.weights, (joint.shape[-2],), like=joint)
        joint_LNK, vision_LNK, language_LNK = (p.reshape(-1, *p.shape[-2:]) for p in (joint, vision, language))
        return joint_LNK, vision_LNK, language_LNK, w.reshape(-1, w.shape[-1])

    def clusters(self) -> tuple[Tensor, Tensor]:
        """The image and the question of every pair, numbered from 0, int64 [N] each.

        Raises:
            InputError: Identifiers that are no int64 tensor of one number a pair.
        """
        return self._numbered("images", self.images), self._numbered("questions", self.questions)

    def _numbered(self, name: str, identifiers: Tensor | None) -> Tensor:
        n = self.joint.shape[-2]
        if identifiers is None:
            return torch.arange(n, device=self.joint.device)
        if identifiers.shape != (n,) or identifiers.dtype != torch.int64:
            raise InputError(
                f"{name} has shape {tuple(identifiers.shape)} and dtype {identifiers.dtype}",
                f"it names the cluster of each of the {n} pairs by a whole number",
                f"pass {name} as int64 [{n}]",
            )
        return torch.unique(identifiers, return_inverse=True)[1].to(self.joint.device)


@dataclass(frozen=True, kw_only=True)
class RowSample:
    """Natural pairs with their joint posteriors alone: what either source tells by itself is identified in part.

    The arguments are some of those of :func:`fusionscope.pid.identified.identified_pid`.

    Args:
        joint: p(y | x1, x2) of the pairs, [..., N, K], any floating dtype.
        images: Which image each pair shows, int64 [N].
        questions: Which question each pair asks, int64 [N].
        law: ``"population"`` or ``"benchmark"``.
        strata: Stratum of each pair among its image's, int64 [N]; None for one stratum.
        questions_available: How many questions each pair's image has in its stratum, int64 [N]; None for no end.
        images_available: How many images of the benchmark ask each pair's question, int64 [N]; benchmark law alone.
        images_total: How many images the benchmark has; benchmark law alone.
        questions_enumerated: Whether the questions are a finite list rather than a sample.
    """

    joint: Tensor
    images: Tensor
    questions: Tensor
    law: Literal["population", "benchmark"] = "population"
    strata: Tensor | None = None
    questions_available: Tensor | None = None
    images_available: Tensor | None = None
    images_total: int | None = None
    questions_enumerated: bool = False

    @property
    def leading(self) -> torch.Size:
        """The shape of the leading dimensions."""
        return self.joint.shape[:-2]

    @property
    def has_features(self) -> bool:
        """Rows hold no features."""
        return False


Sample = GridSample | PairSample | RowSample
