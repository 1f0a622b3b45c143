"""PID of a crossed design: every image with every question, no masking.

Shapes: L problems, A images, B questions, K answers.
"""

from torch import Tensor

from fusionscope.pid.estimators.exact import ExactEstimator
from fusionscope.pid.estimators.sample import GridSample
from fusionscope.pid.joint import TOLERANCE_BITS
from fusionscope.pid.result import PIDResult


def pid_crossed(
    conditionals: Tensor,
    weights: Tensor | None = None,
    *,
    standard_errors: bool = False,
    images_enumerated: bool = False,
    questions_enumerated: bool = False,
    images_balanced: bool = False,
    questions_balanced: bool = False,
    bias_correction: bool = True,
    tolerance: float = TOLERANCE_BITS,
) -> PIDResult:
    """PID of a model's answers to images and questions that were all paired.

    p(y|a) and p(y|b) are weighted row and column means, so the sources are consistent by construction and nothing is
    masked. With uniform weights the estimand is interventional (independent images and questions); with the weights of
    a natural pairing it is observational, redundancy by dependence included.

    Args:
        conditionals: p(y | a, b), [..., A, B, K], any floating dtype.
        weights: Weights of the pairs [A, B] or [..., A, B], summing to 1, zeros allowed; uniform by default.
        standard_errors: Whether to add standard errors over the axes that are not enumerated, for
            :func:`fusionscope.pid.confidence_intervals`, and the diagnostics ``nonregular`` (1 where a kink concerns
            any atom), ``half_sample_curvature``, ``kink_ratio``, and for each atom ``nonregular_<atom>`` and
            ``standard_error_slope_<atom>`` (:mod:`fusionscope.pid.uncertainty.regularity`). With few units, plus or
            minus 1.96 of them is narrow.
        images_enumerated: The images are the whole population: no bias correction, no error on this axis.
        questions_enumerated: The same for the questions.
        images_balanced: The images are balanced by design, as of :class:`fusionscope.pid.estimators.GridSample`: no
            bias correction on this axis.
        questions_balanced: The same for the questions.
        bias_correction: Subtract the first-order plug-in bias of the sampled axes. The uncorrected values are in the
            diagnostics as ``plug_in_<name>``. The correction counts as a constant in gradients.
        tolerance: Certified gap of the union information, bits. The bounds are those of the uncorrected union.

    Returns:
        The atoms in bits, differentiable in ``conditionals``. Corrected atoms may fall under zero by sampling noise.

    Raises:
        InputError: NaN, negative, not normalised, empty or of too few dimensions; weights of another shape; a
            tolerance that is not positive.

    Example:
        >>> import torch
        >>> p = torch.eye(2).reshape(2, 1, 2).expand(2, 3, 2)
        >>> result = pid_crossed(p, images_enumerated=True, questions_enumerated=True)
        >>> round(float(result.unique_vision), 6)
        1.0
    """
    sample = GridSample(
        conditionals=conditionals,
        weights=weights,
        images_enumerated=images_enumerated,
        questions_enumerated=questions_enumerated,
        images_balanced=images_balanced,
        questions_balanced=questions_balanced,
    )
    estimator = ExactEstimator(bias_correction=bias_correction, tolerance=tolerance)
    return estimator.decompose(sample, standard_errors=standard_errors)
