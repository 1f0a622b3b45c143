"""What a measure is: a name, a reference, and the redundancy of two sources; the other atoms follow."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from fusionscope.pid.estimators.sample import GridSample
from fusionscope.pid.information import NATS_TO_BITS
from fusionscope.pid.measures.joint import Joint
from fusionscope.pid.result import PIDResult


class Measure(ABC):
    """A redundancy of two sources about an answer.

    Attributes:
        name: As in the literature: ``"I_min"``.
        sentence: What it takes for redundant, and whose it is, for a methods paragraph.
    """

    name: ClassVar[str]
    sentence: ClassVar[str]

    @abstractmethod
    def redundancy(self, joint: Joint) -> Tensor:
        """The redundancy, nats [L]."""

    def converged(self, joint: Joint) -> Tensor:
        """Whether what had to be solved for it was, bool [L]."""
        return torch.ones_like(joint.total, dtype=torch.bool)

    def atoms(self, joint: Joint) -> PIDResult:
        """The four atoms, bits [L]: by the sum rule from the redundancy and the three informations."""
        redundancy = NATS_TO_BITS * self.redundancy(joint)
        vision, language, total = (
            NATS_TO_BITS * x for x in (joint.information_vision, joint.information_language, joint.total)
        )
        unknown = torch.full_like(total, torch.nan)
        return PIDResult(
            redundancy=redundancy,
            unique_vision=vision - redundancy,
            unique_language=language - redundancy,
            synergy=total - vision - language + redundancy,
            total=total,
            information_vision=vision,
            information_language=language,
            union_lower=unknown,
            union_upper=unknown,
            converged=self.converged(joint),
            n=joint.p_LABK.shape[1] * joint.p_LABK.shape[2],
            estimator=self.name,
        )

    def decompose(self, sample: GridSample) -> PIDResult:
        """The atoms of every layer of a grid under this measure, bits, signed, without bias correction.

        Args:
            sample: Images and questions, all paired. Pairs that were not crossed give the measures nothing to read
                p(a, b) and p(y | a, b) from.

        Raises:
            InputError: As of :func:`fusionscope.pid.pid_crossed`.
        """
        return self.atoms(joint_of(sample)).reshaped(sample.leading)


@torch.no_grad()
def joint_of(sample: GridSample) -> Joint:
    """The weighted joint distribution of a grid."""
    p_LABK, w_LAB = sample.flat()
    return Joint(p_LABK=p_LABK.detach() * w_LAB[..., None])
