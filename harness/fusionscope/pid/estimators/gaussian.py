"""PID of jointly Gaussian representations: exact in the sense of Bertschinger et al., with a certificate.

Legend: N samples, D1, D2 numbers of the two sources, DY of the target.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.pid.estimators._gaussian_channel import (
    channel,
    log_determinant_bias,
    principal_components,
    shrunk_correlation,
)
from fusionscope.pid.estimators._gaussian_union import solve_union
from fusionscope.pid.result import PIDResult

__all__ = ["GaussianPID"]


@dataclass(frozen=True, kw_only=True)
class GaussianPID:
    """PID of vector sources and a vector target, taken as jointly Gaussian.

    The union information is minimised over Gaussian couplings. For a Gaussian law these are enough: any
    coupling's information is at least that of the Gaussian one with the same covariance (the linear estimate
    of the target bounds its conditional entropy), so the atoms are those of Bertschinger et al. (2014), not a
    bound. Each source is first reduced to its sufficient statistic E[Y|X], which costs no information:
    hundreds of dimensions are no trouble where the target is small. The problem is convex and solved to a
    certified interval. For a scalar target the result is the closed form of Barrett (2015): redundancy is the
    smaller information.

    Only second moments count: what is not linear in the representations does not count. With N not well
    over D1 + D2 + DY the informations are biased upwards: reduce, shrink, or correct.

    Args:
        tolerance: Requested width of the certified interval, bits.
        components_vision: Principal components of the first source to keep; None keeps the variables as they
            are.
        components_language: Likewise of the second source.
        components_target: Likewise of the target.
        shrinkage: Weight of the identity in the joint correlation, in [0, 1), or "ledoit_wolf".
        bias_correction: Subtract the exact Gaussian bias of the three informations, and scale the union by
            the total's ratio (Venkatesh et al. 2023). Needs N - 1 > D1 + D2 + DY and no shrinkage.

    Example:
        >>> covariance = torch.tensor([[2.0, 0.0, 1.0], [0.0, 2.0, 1.0], [1.0, 1.0, 1.0]]).double()
        >>> result = GaussianPID().from_covariance(covariance + 0.5 * torch.eye(3), sizes=(1, 1, 1))
        >>> round(float(result.redundancy), 4), round(float(result.synergy), 4)
        (0.2237, 0.326)

    Reference:
        Barrett (2015), Physical Review E 91. Venkatesh, Bennett, Gale, et al. (2023), Gaussian partial
        information
        decomposition: bias correction and application to high-dimensional data, NeurIPS.
    """

    tolerance: float = 1e-7
    components_vision: int | None = None
    components_language: int | None = None
    components_target: int | None = None
    shrinkage: float | Literal["ledoit_wolf"] = 0.0
    bias_correction: bool = False

    def __post_init__(self) -> None:
        weight = self.shrinkage
        if weight != "ledoit_wolf" and not (isinstance(weight, int | float) and 0 <= weight < 1):
            raise InputError(f"shrinkage={weight!r}", "it weighs the identity", "pass [0, 1) or 'ledoit_wolf'")
        if not isinstance(self.tolerance, int | float) or not self.tolerance > 0:
            raise InputError(f"tolerance={self.tolerance!r}", "no interval is narrower than that", "pass 1e-7")
        if self.bias_correction and weight != 0.0:
            raise InputError(
                f"bias_correction=True with shrinkage={weight!r}",
                "the correction is that of the sample covariance",
                "use one of the two",
            )

    def estimate(self, vision: Tensor, language: Tensor, target: Tensor) -> PIDResult:
        """The decomposition of samples.

        Args:
            vision: First source, [..., N, D1].
            language: Second source, [..., N, D2].
            target: Target, [..., N, DY]. Leading dimensions (layers) are broadcast.

        Returns:
            The result, signed, in bits. `union_lower` and `union_upper` are certified for the covariance
            used, before any bias correction. Diagnostics: `gradient_norm` of the information in the noise
            correlation (near zero unless the optimum lies at the boundary), `steps`, `variance_kept_vision`,
            `variance_kept_language`, `variance_kept_target`, `shrinkage`, and `informative_vision`,
            `informative_language`: how many directions of each source say anything about the target.

        Raises:
            InputError: Shapes that do not match, values that are not finite, constant variables, or a
                covariance that is singular (too few samples, or a target that a source determines).
        """
        given = {"vision": vision, "language": language, "target": target}
        _check(given)
        n_samples = vision.shape[-2]
        shape = torch.broadcast_shapes(*(x.shape[:-2] for x in given.values()))  # type: ignore[no-untyped-call]
        flat = [x.double().expand(*shape, *x.shape[-2:]).reshape(-1, *x.shape[-2:]) for x in given.values()]
        results = [self._layer(*layer) for layer in zip(*flat, strict=True)]
        return _stack(results, shape, n_samples, vision.device)

    def from_covariance(self, covariance: Tensor, *, sizes: tuple[int, int, int], n: int | None = None) -> PIDResult:
        """The decomposition of a covariance.

        Args:
            covariance: Joint covariance of first source, second source and target, in this order, [D, D].
            sizes: D1, D2, DY.
            n: How many samples it comes from, for the bias correction.

        Returns:
            As `estimate`.

        Raises:
            InputError: A covariance that is not square, symmetric, positive definite and of the sizes' sum.
        """
        given = tuple(covariance.shape) if isinstance(covariance, Tensor) else type(covariance).__name__
        if given != (sum(sizes), sum(sizes)) or min(sizes) < 1:
            raise InputError(
                f"covariance is {given}, sizes={sizes}",
                "it must be square with the sum of three positive sizes",
                "pass sizes=(D1, D2, DY)",
            )
        covariance = covariance.double()
        scale = covariance.diagonal().sqrt()
        correlation = covariance / scale[:, None] / scale
        if not bool(torch.isfinite(correlation).all()) or not torch.allclose(correlation, correlation.T):
            least, off = float(covariance.diagonal().min()), float((covariance - covariance.T).abs().max())
            raise InputError(
                f"covariance has a diagonal from {least:.3g} and differs from its transpose by {off:.3g}",
                "it must be finite and symmetric with a positive diagonal",
                "fix it",
            )
        values = self._decompose(correlation, sizes, n)
        return _stack([values], torch.Size(), n or 0, covariance.device)

    def _layer(self, vision: Tensor, language: Tensor, target: Tensor) -> dict[str, float]:
        components = {
            "vision": self.components_vision,
            "language": self.components_language,
            "target": self.components_target,
        }
        reduced, kept = [], {}
        for (name, most), x in zip(components.items(), (vision, language, target), strict=True):
            z, kept[f"variance_kept_{name}"] = principal_components(x, most, name)
            reduced.append(z)
        correlation, weight = shrunk_correlation(torch.cat(reduced, dim=1), self.shrinkage)
        sizes = (reduced[0].shape[1], reduced[1].shape[1], reduced[2].shape[1])
        return self._decompose(correlation, sizes, vision.shape[0]) | kept | {"shrinkage": weight}

    def _decompose(self, correlation: Tensor, sizes: tuple[int, int, int], n: int | None) -> dict[str, float]:
        d1, d12 = sizes[0], sizes[0] + sizes[1]
        target = slice(d12, sum(sizes))
        first = channel(correlation, slice(0, d1), target, "vision")
        second = channel(correlation, slice(d1, d12), target, "language")
        both = channel(correlation, slice(0, d12), target, "vision and language")
        union = solve_union(first.gain, second.gain, tolerance=self.tolerance * math.log(2))
        nats = {
            "information_vision": first.information,
            "information_language": second.information,
            "total": both.information,
            "union": union.upper,
        }
        if self.bias_correction:
            nats = _corrected(nats, sizes, n)
        nats |= {"union_lower": union.lower, "union_upper": union.upper}
        return {name: value / math.log(2) for name, value in nats.items()} | {
            "gradient_norm": union.gradient_norm / math.log(2),
            "steps": union.steps,
            "informative_vision": first.gain.shape[0],
            "informative_language": second.gain.shape[0],
            "converged": union.upper - union.lower <= self.tolerance * math.log(2),
        }


def _check(given: dict[str, Tensor]) -> None:
    for name, x in given.items():
        if not isinstance(x, Tensor):
            raise InputError(f"{name} is a {type(x).__name__}", "samples are a tensor", f"torch.as_tensor({name})")
        if x.ndim < 2 or x.numel() == 0 or not x.is_floating_point():
            raise InputError(
                f"{name} has shape {tuple(x.shape)}, dtype {x.dtype}",
                "samples are rows of floating-point numbers, [..., N, D]",
                "a scalar target is [N, 1]",
            )
        if not bool(torch.isfinite(x).all()):
            raise InputError(f"{name} holds a NaN or an infinity", "moments need finite values", "drop them")
    counts = {name: x.shape[-2] for name, x in given.items()}
    if len(set(counts.values())) > 1 or min(counts.values()) < 3:
        raise InputError(f"samples: {counts}", "the same samples of all three, at least three", "align them")
    leading = {name: tuple(x.shape[:-2]) for name, x in given.items()}
    longest = max(map(len, leading.values()))
    padded = [(1,) * (longest - len(shape)) + shape for shape in leading.values()]
    if any(len({size for size in sizes if size != 1}) > 1 for sizes in zip(*padded, strict=True)):
        raise InputError(f"leading dimensions: {leading}", "they must broadcast", "align the layers")


def _corrected(nats: dict[str, float], sizes: tuple[int, int, int], n: int | None) -> dict[str, float]:
    """Less the bias of each information; the union scaled as the total."""
    if n is None or n - 1 <= sum(sizes):
        raise InputError(
            f"bias_correction=True with n={n} samples of {sum(sizes)} dimensions",
            "the correction needs more samples than dimensions",
            "pass n, or fewer components",
        )
    sources = {"information_vision": sizes[0], "information_language": sizes[1], "total": sizes[0] + sizes[1]}
    corrected = {
        name: nats[name]
        - (
            log_determinant_bias(size, n - 1)
            + log_determinant_bias(sizes[2], n - 1)
            - log_determinant_bias(size + sizes[2], n - 1)
        )
        / 2
        for name, size in sources.items()
    }
    ratio = corrected["total"] / nats["total"] if nats["total"] > 0 else 1.0
    return corrected | {"union": nats["union"] * ratio}


def _stack(results: list[dict[str, float]], shape: torch.Size, n: int, device: torch.device) -> PIDResult:
    """Bits of each layer to a result."""
    values = {
        name: torch.tensor([float(result[name]) for result in results], dtype=torch.float64, device=device).reshape(
            shape
        )
        for name in results[0]
    }
    union, total = values.pop("union"), values.pop("total")
    first, second = values.pop("information_vision"), values.pop("information_language")
    return PIDResult(
        redundancy=first + second - union,
        unique_vision=union - second,
        unique_language=union - first,
        synergy=total - union,
        total=total,
        information_vision=first,
        information_language=second,
        union_lower=values.pop("union_lower"),
        union_upper=values.pop("union_upper"),
        converged=values.pop("converged").bool(),
        n=n,
        estimator="gaussian",
        diagnostics=values,
    )
