"""Natural pairs as they are handed in: checked, numbered, and what the law says of them.

Shapes: N rows (pairs).
"""

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.pid.identified.result import Law
from fusionscope.pid.validate import check_count, check_weights

_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The rows' identities, numbered from 0, and how many draws there are of each in all.

    Args:
        image_N: int64.
        question_N: int64.
        stratum_N: int64; None for one stratum.
        weights_N: float64, summing to 1.
        features_vision: [N, D] or None.
        features_language: [N, D] or None.
        of_image_N: How many questions the row's image has (in the row's stratum), float64; infinity: no end of them.
        of_question_N: How many images have the row's question, float64.
        law: The law of questions.
        sampled_fraction: Of a benchmark's images, how many are given; 0 for a population.
        questions_enumerated: Whether the questions are no sample.
    """

    image_N: Tensor
    question_N: Tensor
    stratum_N: Tensor | None
    weights_N: Tensor
    features_vision: Tensor | None
    features_language: Tensor | None
    of_image_N: Tensor
    of_question_N: Tensor
    law: Law
    sampled_fraction: float
    questions_enumerated: bool

    @property
    def n(self) -> int:
        return len(self.image_N)

    @property
    def n_images(self) -> int:
        return int(self.image_N.max()) + 1

    @property
    def n_questions(self) -> int:
        return int(self.question_N.max()) + 1


def check_pairs(
    n: int,
    images: Tensor,
    questions: Tensor,
    *,
    law: Law,
    features_vision: Tensor | None,
    features_language: Tensor | None,
    weights: Tensor | None,
    strata: Tensor | None,
    questions_available: Tensor | None,
    images_available: Tensor | None,
    images_total: int | None,
    questions_enumerated: bool,
    like: Tensor,
) -> Pairs:
    """Checks what :func:`fusionscope.pid.identified.identified_pid` is given besides posteriors."""
    image_N, question_N = _identities("images", images, n, like), _identities("questions", questions, n, like)
    stratum_N = None if strata is None else _identities("strata", strata, n, like)
    _check_distinct(image_N, question_N, images, questions)
    n_images = int(image_N.max()) + 1
    if n_images < 2:
        raise InputError("pairs of one image", "the error of a sample of images needs two", "pass pairs of more images")
    if law == "population" and not questions_enumerated and int(question_N.max()) == 0:
        rule = "the error of a sample of questions needs two"
        raise InputError("pairs of one question", rule, "pass questions_enumerated=True if it is all there is")
    weights_N = check_weights("weights", weights, (n,), like=like)
    weights_N = weights_N.reshape(-1, n)[0]
    _check_equal_within(weights_N, image_N, images)
    if law not in get_args(Law):
        raise InputError(f"law={law!r}", f"it is one of {', '.join(get_args(Law))}", "choose one of them")
    if law == "benchmark":
        if questions_available is not None or strata is not None:
            rule = "under the benchmark law an image's pairs are its whole list: nothing is drawn within an image"
            raise InputError("questions_available or strata with law='benchmark'", rule, "leave them out")
        fraction, of_question_N = _benchmark(n_images, question_N, images_total, images_available, like)
        of_image_N = torch.bincount(image_N)[image_N].double()
    else:
        if images_total is not None or images_available is not None:
            rule = "a population has no end of images"
            raise InputError("images_total or images_available with law='population'", rule, "pass law='benchmark'")
        fraction, of_question_N = 0.0, torch.full_like(weights_N, torch.inf)
        of_image_N = _available("questions_available", questions_available, image_N, stratum_N, like)
    return Pairs(
        image_N=image_N,
        question_N=question_N,
        stratum_N=stratum_N,
        weights_N=weights_N,
        features_vision=_features("features_vision", features_vision, image_N, like),
        features_language=_features("features_language", features_language, question_N, like),
        of_image_N=of_image_N,
        of_question_N=of_question_N,
        law=law,
        sampled_fraction=fraction,
        questions_enumerated=law == "benchmark" or bool(questions_enumerated),
    )


def _identities(name: str, values: Tensor, n: int, like: Tensor) -> Tensor:
    if not isinstance(values, Tensor) or values.dtype not in _INTEGERS or tuple(values.shape) != (n,):
        got = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"{name} is {got}", f"it is one integer for each of the {n} pairs", f"number the {name}")
    return torch.unique(values.to(like.device, torch.int64), return_inverse=True)[1]


def _check_distinct(image_N: Tensor, question_N: Tensor, images: Tensor, questions: Tensor) -> None:
    _, inverse, count = torch.unique(
        image_N * (question_N.max() + 1) + question_N, return_inverse=True, return_counts=True
    )
    twice = (count[inverse] > 1).nonzero()[:, 0]
    if len(twice):
        row = int(twice[0])
        raise InputError(
            f"row {row}: image {int(images[row])} with question {int(questions[row])}, more than once",
            "different draws of a question are multiplied, and one pair twice is no different draw",
            "drop repeated pairs",
        )


def _check_equal_within(weights_N: Tensor, image_N: Tensor, images: Tensor) -> None:
    largest = torch.zeros(int(image_N.max()) + 1, dtype=weights_N.dtype, device=weights_N.device)
    largest = largest.scatter_reduce(0, image_N, weights_N, "amax")
    uneven = (weights_N < largest[image_N] * (1 - 1e-9)).nonzero()[:, 0]
    if len(uneven) or not bool((weights_N > 0).all()):
        row = int(uneven[0]) if len(uneven) else int((weights_N <= 0).nonzero()[0])
        raise InputError(
            f"row {row}: weight {float(weights_N[row]):.6g}, image {int(images[row])}",
            "the pairs of an image are draws of one law, so that their weights are equal, and over 0",
            "weight whole images, and name what is drawn apart in strata",
        )


def _features(name: str, values: Tensor | None, object_N: Tensor, like: Tensor) -> Tensor | None:
    """Features of the rows' objects on the posteriors' device: finite, and the same in all rows of an object."""
    if values is None:
        return None
    if not isinstance(values, Tensor) or values.ndim != 2 or len(values) != len(object_N) or values.numel() == 0:
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"{name} is {got}", f"it is a row for each of the {len(object_N)} pairs", f"reshape {name}")
    values = values.detach().to(like.device)
    bad = (~torch.isfinite(values).all(1)).nonzero()[:, 0]
    if len(bad):
        raise InputError(f"row {int(bad[0])} of {name} is not finite", "features are numbers", f"check {name}")
    first_U = torch.full((int(object_N.max()) + 1,), len(object_N), dtype=torch.int64, device=like.device)
    first_U = first_U.scatter_reduce(0, object_N, torch.arange(len(object_N), device=like.device), "amin")
    differ = (values != values[first_U[object_N]]).any(1).nonzero()[:, 0]
    if len(differ):
        row = int(differ[0])
        raise InputError(
            f"row {row} of {name} differs from row {int(first_U[object_N[row]])}, of the same identity",
            "features belong to the image, or the question, and not to the pair",
            "take features from before the sources meet",
        )
    return values


def _available(name: str, values: Tensor | None, object_N: Tensor, stratum_N: Tensor | None, like: Tensor) -> Tensor:
    """How many draws there are in all; no fewer than are given, and one number for each object (and stratum)."""
    if values is None:
        return torch.full((len(object_N),), torch.inf, dtype=torch.float64, device=like.device)
    if not isinstance(values, Tensor) or tuple(values.shape) != tuple(object_N.shape):
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(
            f"{name} is {got}", f"it is one number for each of the {len(object_N)} pairs", f"repeat {name}"
        )
    size_N = values.to(like.device, torch.float64)
    cell_N = object_N if stratum_N is None else object_N * (stratum_N.max() + 1) + stratum_N
    cell_N = torch.unique(cell_N, return_inverse=True)[1]
    given_C = torch.bincount(cell_N)
    least_C = torch.full_like(given_C, torch.inf, dtype=torch.float64).scatter_reduce(0, cell_N, size_N, "amin")
    bad = ((size_N < given_C[cell_N]) | (size_N != least_C[cell_N]) | torch.isnan(size_N)).nonzero()[:, 0]
    if len(bad):
        row = int(bad[0])
        raise InputError(
            f"row {row}: {name} {float(size_N[row]):g}, where {int(given_C[cell_N[row]])} pairs are given",
            "it counts all draws that there are, those given among them, the same number in each of an object's rows",
            f"correct {name}",
        )
    return size_N


def _benchmark(
    n_images: int, question_N: Tensor, total: int | None, available: Tensor | None, like: Tensor
) -> tuple[float, Tensor]:
    """The fraction of the benchmark's images that is given, and how many images have each row's question."""
    if total is None:
        rule = "the benchmark law is that of a finite list of images, whose length tells how far the sample is from it"
        raise InputError("law='benchmark' without images_total", rule, "pass the number of the benchmark's images")
    check_count("images_total", total, least=n_images)
    given_N = torch.bincount(question_N)[question_N].double()
    if total == n_images:
        return 1.0, given_N
    if available is None:
        rule = f"{n_images} of {total} images are given, and p(y | question) is a mean over all images that ask it"
        raise InputError("law='benchmark' without images_available", rule, "count, for each pair, the images that ask")
    return n_images / total, _available("images_available", available, question_N, None, like)
