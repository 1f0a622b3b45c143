"""From samples to a covariance, from a covariance to white channels: what the Gaussian estimator stands on.

Legend: N samples, D numbers of a variable, Y numbers of the target, R informative directions.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fusionscope.errors import InputError

__all__ = ["Channel", "channel", "log_determinant_bias", "principal_components", "shrunk_correlation"]

# Directions whose signal-to-noise ratio is below the square of this carry under 1e-10 nats: left out.
_FAINT = 1e-5
_LEAST_VARIANCE = 1e-14  # fraction of the leading component's: under it is what rounding leaves of second moments


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A source as a channel X = H Y + N in white coordinates, reduced to its informative directions.

    Args:
        gain: H, float64 [R, Y]; its rows are orthogonal. The target and the noise are white.
        information: I(X; Y), nats.
    """

    gain: Tensor
    information: float


def channel(covariance: Tensor, source: slice, target: slice, name: str) -> Channel:
    """Reduce a source to its sufficient statistic for the target, E[Y|X], in white coordinates.

    Args:
        covariance: Joint covariance, float64 [D, D].
        source: The source's rows.
        target: The target's rows.
        name: The source's name, for the message.

    Raises:
        InputError: The target's covariance, or the source's given the target, is singular.
    """
    target_factor = _cholesky(covariance[target, target], "target")
    # Y = L Y', Y' white: Cov(X, Y') = Cov(X, Y) L^-T.
    gain = torch.linalg.solve_triangular(target_factor, covariance[source, target].T, upper=False).T
    noise = covariance[source, source] - gain @ gain.T
    white = torch.linalg.solve_triangular(_cholesky(noise, f"{name} given target"), gain, upper=False)
    _, ratios, directions = torch.linalg.svd(white, full_matrices=False)
    informative = ratios > _FAINT
    return Channel(
        gain=ratios[informative, None] * directions[informative],
        information=float(torch.log1p(ratios.square()).sum() / 2),
    )


def _cholesky(matrix: Tensor, name: str) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(matrix)
    pivots = factor.diagonal().square() if int(info) == 0 else torch.zeros(1)
    # In a correlation matrix a pivot is the fraction of a variable that the others leave open.
    if float(pivots.min()) < 1e-12:
        raise InputError(
            f"the covariance of {name} is singular ({matrix.shape[0]} dimensions)",
            "a direction without noise would carry infinite information",
            "pass shrinkage > 0, fewer components (components_vision, ...), or more samples",
        )
    return factor


def principal_components(x: Tensor, components: int | None, name: str) -> tuple[Tensor, float]:
    """Project on the leading principal components, computed from second moments over the shorter side.

    Args:
        x: Samples, float64 [N, D].
        components: How many to keep; None keeps the variables as they are.
        name: For the message.

    Returns:
        Centred samples, [N, components] or [N, D], and the fraction of the variance kept.

    Raises:
        InputError: More components than samples or variables allow, or than have a variance.
    """
    centred = x - x.mean(0)
    if components is None:
        return centred, 1.0
    most = min(x.shape[0] - 1, x.shape[1])
    if not 1 <= components <= most:
        raise InputError(
            f"components_{name}={components}",
            f"{x.shape[0]} samples of {x.shape[1]} numbers have at most {most} components",
            f"pass 1 to {most}",
        )
    is_wide = x.shape[0] <= x.shape[1]
    squares, vectors = torch.linalg.eigh(centred @ centred.mT if is_wide else centred.mT @ centred)
    squares, vectors = squares.flip(0), vectors.flip(1)[:, :components]
    varying = int((squares > _LEAST_VARIANCE * squares[0]).sum())
    if varying < components:
        raise InputError(
            f"components_{name}={components}",
            f"the samples vary in {varying} directions only",
            f"pass {varying or 1} or fewer",
        )
    kept = squares[:components].sum() / squares.sum()
    return (vectors * squares[:components].sqrt() if is_wide else centred @ vectors), float(kept)


def shrunk_correlation(x: Tensor, shrinkage: float | Literal["ledoit_wolf"]) -> tuple[Tensor, float]:
    """The correlation matrix, shrunk towards the identity.

    Args:
        x: Centred samples, float64 [N, D].
        shrinkage: Weight of the identity in [0, 1), or the one of Ledoit and Wolf.

    Returns:
        The correlation [D, D] and the weight used.

    Raises:
        InputError: A variable is constant.

    Reference:
        Ledoit, Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices, lemma
        3.3.
    """
    scale = x.square().mean(0).sqrt()
    constant = int((scale <= 1e-12 * scale.max()).sum())
    if constant:
        raise InputError(
            f"{constant} of {x.shape[1]} variables are constant",
            "a constant has no correlation",
            "drop them or keep principal components",
        )
    z = x / scale
    correlation = z.T @ z / z.shape[0]
    weight = _ledoit_wolf(z, correlation) if shrinkage == "ledoit_wolf" else float(shrinkage)
    eye = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    return (1 - weight) * correlation + weight * eye, weight


def _ledoit_wolf(z: Tensor, correlation: Tensor) -> float:
    n, d = z.shape
    off_identity = float((correlation.square().sum() - d) / d)
    fourth = float(z.square().sum(1).square().mean() / d)
    sampling = (fourth - float(correlation.square().sum()) / d) / n
    return min(1.0, max(0.0, sampling / off_identity)) if off_identity > 0 else 1.0


def log_determinant_bias(dimensions: int, degrees: int) -> float:
    """Bias of log det of a sample covariance of Gaussian variables, nats.

    Args:
        dimensions: Of the covariance.
        degrees: Samples less one.

    Reference:
        Cai, Liang, Zhou (2015), Law of log determinant of sample covariance matrix, J. Multivariate Anal.
        137.

    >>> round(log_determinant_bias(1, 10), 4)
    -0.1033
    """
    halves = (degrees - torch.arange(dimensions, dtype=torch.float64)) / 2
    return float(torch.digamma(halves).sum()) - dimensions * math.log(degrees / 2)
