"""Under which law of questions a task's natural pairs stand: what they are a sample of.

*Benchmark*: an image's own list of questions is the law, the images are a finite population. As soon as all questions
of an image are run, p(y | image) is the exact mean over them. *Population*: the questions of an image are a sample of
those that could be asked of it, and p(y | image) is identified in part.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fusionscope.errors import InputError

Law = Literal["population", "benchmark"]


@dataclass(frozen=True, kw_only=True)
class RowLaw:
    """The law of a task's natural pairs.

    Args:
        name: ``"population"`` or ``"benchmark"``.
        strata: int64 [N], the stratum of each pair among its image's: pairs of one image and stratum are exchangeable
            draws (POPE asks three questions whose answer is yes, and three no, of each image). None for one stratum.
        questions_available: int64 [N], how many questions the pair's image has in its stratum, of which those that are
            there were drawn without replacement; None for no end of them. Population law alone.
        images_available: int64 [N], how many images of the benchmark ask the pair's question. Benchmark law alone.
        images_total: How many images the benchmark has. Benchmark law alone.

    Raises:
        InputError: No such law, or numbers that belong to the other one.
    """

    name: Law = "population"
    strata: Tensor | None = None
    questions_available: Tensor | None = None
    images_available: Tensor | None = None
    images_total: int | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(Law):
            raise InputError(f"law {self.name!r}", f"laws are {', '.join(get_args(Law))}", "use one of them")
        if self.name == "population" and (self.images_available is not None or self.images_total is not None):
            raise InputError(
                "a population law with images_available or images_total", "it has no end", "leave them out"
            )
        if self.name == "benchmark" and self.questions_available is not None:
            raise InputError(
                "a benchmark law with questions_available", "an image's list is there as a whole", "leave it out"
            )

    def of_pairs(self) -> dict[str, Tensor]:
        """What it says of each pair, by name, int64 [N] each."""
        named = {name: getattr(self, name) for name in ("strata", "questions_available", "images_available")}
        return {name: x for name, x in named.items() if x is not None}

    def select(self, pairs: Tensor) -> "RowLaw":
        """The law of some of the pairs.

        Args:
            pairs: bool [N] or indices int64.
        """
        changed: dict[str, Any] = {name: x[pairs] for name, x in self.of_pairs().items()}
        return replace(self, **changed)


def benchmark_law(pairs: Tensor, kept: Tensor | None = None) -> RowLaw:
    """The benchmark law of a benchmark's pairs, or of those about some of its images.

    Args:
        pairs: int64 [M, 2], (image, question) of every pair of the whole benchmark.
        kept: bool [M] or indices, the pairs that the task keeps, whole images; all by default.
    """
    asked = torch.bincount(pairs[:, 1])[pairs[:, 1]]
    images = int((torch.bincount(pairs[:, 0]) > 0).sum())
    return RowLaw(name="benchmark", images_available=asked if kept is None else asked[kept], images_total=images)
