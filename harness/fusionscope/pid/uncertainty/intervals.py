"""Confidence intervals of the atoms of a result, from its standard errors."""

from statistics import NormalDist

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.pid.result import ATOMS, PIDResult
from fusionscope.pid.uncertainty.regularity import DEGENERATE
from fusionscope.pid.validate import check_fraction


def confidence_intervals(result: PIDResult, level: float = 0.95) -> dict[str, tuple[Tensor, Tensor]]:
    """Confidence intervals of all atoms, bits.

    A quantile of Student's t for the number of units (of paired samples after Satterthwaite), on a scale on which the
    standard error does not change with the atom: where ``s(x) = s + slope (x - estimate)``, that is the logarithm of
    ``s(x)``. Where an atom is flagged ``nonregular_<atom>`` (a kink within reach, or a vanishing influence function)
    the half-sample curvature is added to the standard error, and each end is the wider of the symmetric one and that
    where ``x`` is as many ``s(x)`` away: the coverage is then measured, not derived (tools/check_pid.py). A standard
    error counts as at least 3e-4 bits, the resolution of the halves that it is judged by. Grids are corrected for their
    bias, atoms and intervals alike; paired samples are not, neither atoms nor intervals: their bias is added to the
    standard error.

    Args:
        result: With standard errors.
        level: Coverage that is aimed at.

    Returns:
        By name of the atom, the lower and upper ends [...].

    Raises:
        InputError: The result has no standard errors; a level outside of 0 to 1.

    Example:
        >>> from fusionscope.pid import pid_crossed
        >>> p = torch.softmax(torch.randn(20, 20, 3, generator=torch.Generator().manual_seed(0)), -1)
        >>> result = pid_crossed(p, standard_errors=True)
        >>> low, high = confidence_intervals(result)["synergy"]
        >>> bool(low < result.synergy < high)
        True
    """
    if not result.standard_errors:
        raise InputError(
            "the result has no standard errors", "an interval is made of them", "pass standard_errors=True"
        )
    check_fraction("level", level)
    return {name: _interval(result, name, NormalDist().inv_cdf(0.5 + 0.5 * level)) for name in ATOMS}


def _interval(result: PIDResult, name: str, z: float) -> tuple[Tensor, Tensor]:
    error = result.standard_errors[name].clamp(min=DEGENERATE)
    zero = torch.zeros_like(error)

    def of(key: str, default: Tensor = zero) -> Tensor:
        return result.diagnostics.get(key, default)

    nonregular = of(f"nonregular_{name}") > 0
    error = torch.where(nonregular, torch.hypot(error, of("half_sample_curvature")), error)
    error = torch.hypot(error, of(f"half_sample_bias_{name}"))
    endless = torch.full_like(error, torch.inf)
    t = student(z, of(f"degrees_of_freedom_{name}", of("degrees_of_freedom", endless)))
    slope = of(f"standard_error_slope_{name}")
    down, up = (torch.where(nonregular, _wider(t, sign * slope), _regular(t, sign * slope)) for sign in (-1, 1))
    estimate = getattr(result, name)
    return estimate - down * error, estimate + up * error


def _regular(t: Tensor, slope: Tensor) -> Tensor:
    """Standard errors to the end towards which they grow by ``slope``; half of it is for the mean of the estimate."""
    curved = torch.where(slope.abs() > 1e-6, slope, torch.full_like(slope, 1e-6))
    return torch.expm1(t * curved) / curved + 0.5 * slope


def _wider(t: Tensor, slope: Tensor) -> Tensor:
    return torch.maximum(t, t / (1 - t * slope).clamp(min=0.2))


def student(z: float, degrees: Tensor) -> Tensor:
    """Student's quantile from the normal one, to the second order in the inverse degrees of freedom."""
    inverse = 1 / degrees.clamp(min=1.0)
    return z + (z**3 + z) / 4 * inverse + (5 * z**5 + 16 * z**3 + 3 * z) / 96 * inverse**2
