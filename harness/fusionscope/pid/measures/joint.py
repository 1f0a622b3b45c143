"""The joint distribution that all measures read, with what several of them need computed once.

Shapes: L problems, A images, B questions, K answers; everything float64 and in nats.
"""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from fusionscope.pid.information import information_about_answer
from fusionscope.pid.measures.no_interaction import NoInteraction, fit_no_interaction


@dataclass(frozen=True, kw_only=True)
class Joint:
    """p(a, b, y), [L, A, B, K], summing to 1 over the last three dimensions."""

    p_LABK: Tensor

    @cached_property
    def vision_LAK(self) -> Tensor:
        """p(a, y)."""
        return self.p_LABK.sum(2)

    @cached_property
    def language_LBK(self) -> Tensor:
        """p(b, y)."""
        return self.p_LABK.sum(1)

    @cached_property
    def answer_LK(self) -> Tensor:
        """p(y)."""
        return self.vision_LAK.sum(1)

    @cached_property
    def information_vision(self) -> Tensor:
        """I(X1; Y)."""
        return information_about_answer(self.vision_LAK)

    @cached_property
    def information_language(self) -> Tensor:
        """I(X2; Y)."""
        return information_about_answer(self.language_LBK)

    @cached_property
    def total(self) -> Tensor:
        """I(X1, X2; Y)."""
        return information_about_answer(self.p_LABK.flatten(1, 2))

    @cached_property
    def no_interaction(self) -> NoInteraction:
        """The distribution of greatest entropy with the three pairwise marginals of this one."""
        return fit_no_interaction(self.p_LABK)
