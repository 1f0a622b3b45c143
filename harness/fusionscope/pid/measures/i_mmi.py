"""I_MMI: the smaller of the sources' informations."""

from typing import ClassVar

import torch
from torch import Tensor

from fusionscope.pid.measures.base import Measure
from fusionscope.pid.measures.joint import Joint


class IMMI(Measure):
    """``min(I(X1; Y), I(X2; Y))``: the largest redundancy that any measure without negative atoms can have.

    Reference:
        Barrett (2015), Exploration of synergistic and redundant information sharing in static and dynamical Gaussian
        systems, Physical Review E 91, 052802.
    """

    name: ClassVar[str] = "I_MMI"
    sentence: ClassVar[str] = "I_MMI of Barrett (2015): the smaller of the two sources' informations."

    def redundancy(self, joint: Joint) -> Tensor:
        return torch.minimum(joint.information_vision, joint.information_language)
