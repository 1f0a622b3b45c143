"""I_min: of every answer, the smaller specific information."""

from typing import ClassVar

import torch
from torch import Tensor

from fusionscope.pid.information import log_ratio
from fusionscope.pid.measures.base import Measure
from fusionscope.pid.measures.joint import Joint


class IMin(Measure):
    """``sum_y p(y) min_i sum_x p(x|y) log(p(y|x) / p(y))``.

    Sources count as redundant where their information is about the same answer, even if it is not the same information:
    two independent bits, copied to the answer, have a redundancy of 1 bit.

    Reference:
        Williams, Beer (2010), Nonnegative decomposition of multivariate information, arXiv 1004.2515, eq. 4.
    """

    name: ClassVar[str] = "I_min"
    sentence: ClassVar[str] = "I_min of Williams and Beer (2010): of every answer, the smaller specific information."

    def redundancy(self, joint: Joint) -> Tensor:
        return torch.minimum(_by_answer(joint.vision_LAK), _by_answer(joint.language_LBK)).sum(1)


def _by_answer(p_LNK: Tensor) -> Tensor:
    """``p(y)`` times the specific information about each answer, nats [L, K]."""
    independent = p_LNK.sum(2, keepdim=True) * p_LNK.sum(1, keepdim=True)
    return (p_LNK * log_ratio(p_LNK, independent)).sum(1)
