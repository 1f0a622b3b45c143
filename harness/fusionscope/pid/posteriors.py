"""PID of samples: three posteriors per sample, wherever they come from.

Shapes: L problems, N samples, K answers.
"""

from typing import Any

from torch import Tensor

from fusionscope.pid.estimators.register import get_estimator
from fusionscope.pid.estimators.sample import PairSample
from fusionscope.pid.result import PIDResult


def pid_from_posteriors(
    joint: Tensor,
    vision: Tensor,
    language: Tensor,
    weights: Tensor | None = None,
    estimator: str = "exact",
    *,
    images: Tensor | None = None,
    questions: Tensor | None = None,
    standard_errors: bool = False,
    **options: Any,
) -> PIDResult:
    """Decomposes pairs from their posteriors p(y|x1,x2), p(y|x1), p(y|x2).

    The decomposition depends on the sources only through their posteriors, which are sufficient for the answer, so no
    features are needed. The answer's marginal is that of ``joint``. The estimate is the plug-in on the sample: with
    posteriors known exactly its error is the sampling of x alone.

    Args:
        joint: p(y | x1, x2), [..., N, K], any floating dtype.
        vision: p(y | x1), [..., N, K].
        language: p(y | x2), [..., N, K].
        weights: Weights of the samples, [N] or [..., N], summing to 1; uniform by default.
        estimator: Name of an estimator of pairs that needs no features: ``"exact"``, or ``"faithful"``, the paper's
            arithmetic on answer marginals that disagree.
        images: Which image each pair shows, int64 [N]: pairs that share one are not independent. None where each has
            its own.
        questions: Which question each pair asks, int64 [N].
        standard_errors: Whether to add standard errors, clustered by image and by question, and the same diagnostics as
            :func:`fusionscope.pid.pid_crossed`.
        **options: Of the estimator, such as ``max_tilt`` and ``tolerance``
            (:class:`fusionscope.pid.estimators.exact.ExactEstimator`).

    Returns:
        The atoms in bits, differentiable in all three posteriors. Redundancy and the unique atoms are at least minus
        the gap; synergy may be negative where the posteriors belong to no common distribution (``negative_synergy``).
        Diagnostics: ``marginal_mismatch`` (total variation between answer marginals, also by source), ``unsolved`` (a
        key of ``fusionscope.pid.estimators.UNSOLVED``, 0 where solved).

    Raises:
        InputError: Not distributions, shapes that do not match each other, or an option out of its range.
        UnknownNameError: An estimator that is not registered.
        ConfigError: An estimator that needs features or a grid, or an option that it does not take.

    Reference:
        Bertschinger et al. (2014); Xiu, Luo, Nakayama (2026), arXiv 2603.29676 for the faithful estimator.

    Example:
        >>> import torch
        >>> right = torch.eye(2)
        >>> result = pid_from_posteriors(right, right, torch.full((2, 2), 0.5))
        >>> round(float(result.unique_vision), 6)
        1.0
    """
    sample = PairSample(
        joint=joint, vision=vision, language=language, weights=weights, images=images, questions=questions
    )
    return get_estimator(estimator, **options).decompose(sample, standard_errors=standard_errors)
