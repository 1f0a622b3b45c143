"""PID of a crossed design: every image with every question, no masking.

Shapes: L problems, A images, B questions, K answers.
"""

from torch import Tensor

from fusionscope.pid.joint import TOLERANCE_BITS, decompose
from fusionscope.pid.result import PIDResult
from fusionscope.pid.validate import check_simplex, check_weights


def pid_crossed(
    conditionals: Tensor,
    weights: Tensor | None = None,
    *,
    standard_errors: bool = False,
    images_enumerated: bool = False,
    questions_enumerated: bool = False,
    tolerance: float = TOLERANCE_BITS,
) -> PIDResult:
    """Decomposes what a model's answers tell about images and questions that were all paired.

    Args:
        conditionals: p(y | a, b), [..., A, B, K], any floating dtype.
        weights: Weights of the pairs [A, B] or [..., A, B], summing to 1; uniform by default (interventional).
        standard_errors: Whether to add standard errors over the axes that are not enumerated.
        images_enumerated: The images are the whole population: no bias correction, no error on this axis.
        questions_enumerated: The same for the questions.
        tolerance: Certified gap of the union information, bits.
    """
    p = check_simplex("conditionals", conditionals, n_event_dims=1, min_ndim=3)
    w = check_weights("weights", weights, tuple(p.shape[-3:-1]), like=p)
    joint = p * w[..., None]
    return decompose(joint.reshape(-1, *p.shape[-3:]), tolerance)[0].reshaped(p.shape[:-3])
