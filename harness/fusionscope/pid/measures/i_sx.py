"""I_SX: the information of shared exclusions."""

from typing import ClassVar

from torch import Tensor

from fusionscope.pid.information import log_ratio
from fusionscope.pid.measures.base import Measure
from fusionscope.pid.measures.joint import Joint


class ISX(Measure):
    """The information of the event "this image or this question" about the answer, averaged.

    ``sum p(a,b,y) log(p(y | a or b) / p(y))``. Atoms may be negative. It depends on how finely the sources are divided:
    of A images and B questions, all equally frequent, an image's posterior counts B / (A + B) and a question's
    A / (A + B) in p(y | a or b).

    Reference:
        Makkeh, Gutknecht, Wibral (2021), Introducing a differentiable measure of pointwise shared information, Physical
        Review E 103, 032149.
    """

    name: ClassVar[str] = "I_SX"
    sentence: ClassVar[str] = (
        "I_SX of Makkeh et al. (2021): the information of the event that the image or the question is this one."
    )

    def redundancy(self, joint: Joint) -> Tensor:
        p_LABK, vision_LAK, language_LBK = joint.p_LABK, joint.vision_LAK, joint.language_LBK
        union_LABK = vision_LAK[:, :, None] + language_LBK[:, None] - p_LABK
        return (p_LABK * log_ratio(union_LABK, union_LABK.sum(3, keepdim=True) * joint.answer_LK[:, None, None])).sum(
            (1, 2, 3)
        )
