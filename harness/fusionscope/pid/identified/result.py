"""What identified intervals are returned as."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from fusionscope.pid.result import ATOMS

Law = Literal["population", "benchmark"]
QUANTITIES = (*ATOMS, "total", "information_vision", "information_language", "union")


@dataclass(frozen=True, kw_only=True)
class IdentifiedPID:
    """Intervals of the atoms and informations of natural pairs, in bits.

    Every mapping has the keys of ``QUANTITIES``: the four atoms, ``total`` I(X1, X2; Y), ``information_vision``
    I(X1; Y), ``information_language`` I(X2; Y) and ``union``, the union information.

    Args:
        lower: Lower ends, float64 [...]: what is identified, less sampling error.
        upper: Upper ends, float64 [...].
        identified_lower: Lower ends of what is identified alone, as estimated, float64 [...].
        identified_upper: Upper ends of what is identified alone, float64 [...].
        estimate: Middle of the identified part where ``upper - lower`` is at most ``max_width``, NaN elsewhere.
        level: Coverage that each interval is made for.
        max_width: The widest interval that an estimate is given for, bits.
        law: The law of questions that everything holds under: ``"population"`` (the questions of an image are a sample
            of those that could be asked) or ``"benchmark"`` (its list of questions is the law).
        n: How many images.
        n_questions: How many different questions.
        questions_per_image: The mean number of questions run of each image.
        images_per_question: The mean number of images run with each question.
        reasons: What is not identified, or little, and why; sentences.
        diagnostics: Named tensors whose leading dimensions are those of the ends.
    """

    lower: Mapping[str, Tensor]
    upper: Mapping[str, Tensor]
    identified_lower: Mapping[str, Tensor]
    identified_upper: Mapping[str, Tensor]
    estimate: Mapping[str, Tensor]
    level: float
    max_width: float
    law: Law
    n: int
    n_questions: int
    questions_per_image: float
    images_per_question: float
    reasons: tuple[str, ...] = ()
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)

    def width(self, name: str) -> Tensor:
        """Width of the interval of a quantity, bits [...]."""
        return self.upper[name] - self.lower[name]

    def __getitem__(self, index: Any) -> "IdentifiedPID":
        """The result of some of the leading dimensions (layers)."""
        return self.map(lambda tensor: tensor[index])

    def map(self, function: Callable[[Tensor], Tensor]) -> "IdentifiedPID":
        """The result with a function applied to every tensor (``lambda t: t.cpu()``)."""
        names = ("lower", "upper", "identified_lower", "identified_upper", "estimate", "diagnostics")
        changed: dict[str, Any] = {
            name: {key: function(tensor) for key, tensor in getattr(self, name).items()} for name in names
        }
        return replace(self, **changed)
