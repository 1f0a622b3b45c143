"""Features of a source's objects for regularised least squares: linear ones and kernels, more with more objects.

Shapes: U objects, D given features, M features of a map.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

_COMPONENTS = 256
_LEADING = 8
_WIDTHS = (0.5, 1.0, 2.0)  # times the median distance
_LANDMARKS = 384


def feature_maps(features_UD: Tensor, weights_U: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Names and features ``[U, M]``: principal components, whitened ones, radial kernels of all or the leading ones.

    Args:
        features_UD: One row per object, any floating dtype.
        weights_U: Weights of the objects, float64.
    """
    components = principal_components(features_UD.double(), weights_U)
    scale = components.square().sum(-1).mean().sqrt().clamp(min=1e-300)
    yield "linear", components / scale
    deviation = components.square().mean(0).sqrt()
    white = components / deviation.clamp(min=1e-12)
    yield "linear, whitened", white / max(1, white.shape[1]) ** 0.5
    for name, coordinates in (("all", components), ("leading", white[:, :_LEADING])):
        for width in _WIDTHS:
            yield f"kernel of {name}, width {width:g}", radial(coordinates, width)


def principal_components(x_UD: Tensor, weights_U: Tensor) -> Tensor:
    """Leading principal components of standardised features [U, M], in falling order.

    From the second moments over the shorter side: there are thousands of features, of hundreds of objects.
    """
    fraction_U1 = (weights_U / weights_U.sum())[:, None]
    centred = x_UD - (fraction_U1 * x_UD).sum(0)
    deviation = (fraction_U1 * centred**2).sum(0).sqrt()
    z_UD = centred / torch.where(deviation > 1e-9 * deviation.max().clamp(min=1e-300), deviation, torch.inf)
    if z_UD.shape[0] <= z_UD.shape[1]:
        squares, vectors = torch.linalg.eigh(z_UD @ z_UD.mT)
        parts = vectors * squares.clamp(min=0.0).sqrt()
    else:
        squares, axes = torch.linalg.eigh(z_UD.mT @ z_UD)
        parts = z_UD @ axes
    keep = int((squares > 1e-10 * squares[-1].clamp(min=1e-300)).sum())
    return parts.flip(1)[:, : max(1, min(keep, _COMPONENTS))]


def radial(x_UM: Tensor, width: float) -> Tensor:
    """Features whose inner products are a Gaussian kernel, or its Nystroem approximation from landmarks.

    Reference:
        Williams, Seeger (2001), Using the Nystroem method to speed up kernel machines.
    """
    marks = x_UM
    if len(x_UM) > _LANDMARKS:
        order = x_UM.norm(dim=1).argsort(stable=True)  # by content: the order of objects does not matter
        spread = torch.linspace(0, len(x_UM) - 1, _LANDMARKS, device=x_UM.device).round().long()
        marks = x_UM[order[spread]]
    distance = torch.cdist(marks, marks)
    scale = width * distance[distance > 0].median().clamp(min=1e-300) if bool((distance > 0).any()) else 1.0
    kernel = (-0.5 * (distance / scale) ** 2).exp()
    values, vectors = torch.linalg.eigh(kernel)
    kept = values > 1e-10 * values[-1]
    return (-0.5 * (torch.cdist(x_UM, marks) / scale) ** 2).exp() @ (vectors[:, kept] / values[kept].sqrt())
