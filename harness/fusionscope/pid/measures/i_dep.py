"""I_dep: unique information from the lattice of dependencies."""

from typing import ClassVar

import torch
from torch import Tensor

from fusionscope.pid.information import information_about_answer
from fusionscope.pid.measures.base import Measure
from fusionscope.pid.measures.joint import Joint


class IDep(Measure):
    """The unique information of a source is the least by which its dependency on the answer raises the total.

    Over the lattice of sets of pairwise dependencies, each with its distribution of greatest entropy: adding (X1, Y) to
    no dependency, or to (X1, X2), raises the total by I(X1; Y); to (X2, Y), from I(X2; Y) to that of conditionally
    independent sources; to (X1, X2) and (X2, Y), from I(X2; Y) to that of all three pairwise marginals. Hence R is
    I(X1; Y) + I(X2; Y) less the least of three totals.

    Reference:
        James, Emenheiser, Crutchfield (2019), Unique information via dependency constraints, Journal of Physics A 52,
        014002.
    """

    name: ClassVar[str] = "I_dep"
    sentence: ClassVar[str] = (
        "I_dep of James et al. (2019): unique is the least that a source's dependency on the answer adds."
    )

    def redundancy(self, joint: Joint) -> Tensor:
        py_LK = joint.answer_LK
        given_answer = joint.language_LBK / torch.where(py_LK > 0, py_LK, 1.0)[:, None]
        independent = joint.vision_LAK[:, :, None] * given_answer[:, None]
        sources = joint.information_vision + joint.information_language
        totals = [information_about_answer(q.flatten(1, 2)) for q in (independent, joint.no_interaction.q_LABK)]
        return sources - torch.minimum(sources, torch.minimum(*totals))

    def converged(self, joint: Joint) -> Tensor:
        return joint.no_interaction.converged_L
