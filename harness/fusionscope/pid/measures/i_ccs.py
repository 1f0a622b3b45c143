"""I_CCS: the common change in surprisal."""

from typing import ClassVar

import torch
from torch import Tensor

from fusionscope.pid.information import log_ratio
from fusionscope.pid.measures.base import Measure
from fusionscope.pid.measures.joint import Joint

_ZERO = 1e-8  # nats: a pointwise information under this has no sign


class ICCS(Measure):
    """The mean pointwise co-information over events at which all pointwise informations have its sign.

    Computed under the distribution of greatest entropy with the three pairwise marginals. Atoms may be negative
    (misinformation).

    Reference:
        Ince (2017), Measuring multivariate redundant information with pointwise common change in surprisal, Entropy
        19, 318.
    """

    name: ClassVar[str] = "I_CCS"
    sentence: ClassVar[str] = "I_CCS of Ince (2017): the change in surprisal that both sources cause alike."

    def redundancy(self, joint: Joint) -> Tensor:
        q_LABK = joint.no_interaction.q_LABK
        py_LK = joint.answer_LK[:, None]
        vision = log_ratio(joint.vision_LAK, joint.vision_LAK.sum(2, keepdim=True) * py_LK)[:, :, None]
        language = log_ratio(joint.language_LBK, joint.language_LBK.sum(2, keepdim=True) * py_LK)[:, None]
        both = log_ratio(q_LABK, q_LABK.sum(3, keepdim=True) * py_LK[:, None])
        common = vision + language - both
        sign = _sign(common)
        agrees = (_sign(vision) == sign) & (_sign(language) == sign) & (_sign(both) == sign) & (q_LABK > 0)
        return torch.where(agrees, q_LABK * common, 0.0).sum((1, 2, 3))

    def converged(self, joint: Joint) -> Tensor:
        return joint.no_interaction.converged_L


def _sign(x: Tensor) -> Tensor:
    return torch.where(x.abs() < _ZERO, 0.0, x).sign()
