"""Where influence functions suffice for an interval, and what to do where they do not.

Subsamples of the units are decomposed anew and compared with what the influence functions predict. Two things are read
from them. First the kink: near equal channels the unique atoms bend (one of them is 0 on one side), and what they bend
by varies like the estimate itself. Every atom is a sum of informations, which do not bend, and of either unique atom;
the straighter one counts, so that a source that dominates is regular. The bend is added to the standard errors. Second
the slope: how a standard error grows with its atom (information is quadratic in small effects), which makes intervals
asymmetric.

Shapes: L problems, R subsamples.

Reference:
    Fang, Santos (2019), Inference on directionally differentiable functions; Tibshirani (1988), Variance stabilization
    and the bootstrap.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.pid.result import ATOMS

SHARE = 0.25  # of the units in a subsample: perturbs by twice the sampling error, so a kink within reach of it is seen
SUBSAMPLES = 16
SUBSAMPLE_TOLERANCE = 2e-4  # nats
_NONREGULAR_AT = 0.3  # bend of an atom in units of its standard error; tools/check_pid.py shows the calibration
_REACH = 3.0  # standard errors from 0 within which a unique atom is near a kink
DEGENERATE = 3e-4  # bits: under it a standard error is the solver's gap and second-order terms
_STEEPEST = 0.3  # a slope from few subsamples is cut off here, where it widens one side to 2.4 times
_UNIQUE = ("unique_vision", "unique_language")
_BENDING = (*ATOMS, "union")


@dataclass(frozen=True, kw_only=True)
class Subsamples:
    """What decomposing subsamples tells, bits, by name of atom and information.

    Args:
        values: Estimates ``[R, L]``.
        predicted: The influence functions' means over the subsample ``[R, L]``.
        errors: Standard errors of the estimates, from the subsample alone ``[R, L]``.
    """

    values: dict[str, Tensor]
    predicted: dict[str, Tensor]
    errors: dict[str, Tensor]


def judge(
    estimates: dict[str, Tensor], errors: dict[str, Tensor], subsamples: Subsamples
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Standard errors with the bend, and the diagnostics.

    Args:
        estimates: Plug-in atoms, bits [L].
        errors: Standard errors from the influence functions, bits [L].
        subsamples: Of the same problems.

    Returns:
        Standard errors; and ``kink_ratio``, ``nonregular``, and for each atom ``nonregular_<atom>`` (1 where a kink is
        within reach, or the influence function vanishes) and ``slope_<atom>``.
    """
    excess = [(subsamples.values[name] - subsamples.predicted[name]).std(0) for name in _UNIQUE]
    near_L, apart_L = torch.zeros_like(excess[0], dtype=torch.bool), torch.ones_like(excess[0], dtype=torch.bool)
    for name in _UNIQUE:
        varies_L, clear_L = errors[name] > DEGENERATE, estimates[name] > _REACH * errors[name]
        near_L, apart_L = near_L | (varies_L & ~clear_L), apart_L & varies_L & clear_L
    # A kink bends by as much as the sampling error, a curve by its square: with both sources well clear of a kink only
    # the curve is left.
    bend_L = torch.where(apart_L, SHARE, SHARE**0.5) * torch.minimum(*excess)
    ratio_L = bend_L / errors["union"].clamp(min=DEGENERATE)
    diagnostics = {"kink_ratio": ratio_L, "nonregular": (near_L | (ratio_L > _NONREGULAR_AT)).double()}
    for name in ATOMS:
        bent_L = bend_L > _NONREGULAR_AT * errors[name]
        diagnostics[f"nonregular_{name}"] = (near_L | bent_L | (errors[name] < DEGENERATE)).double()
        diagnostics[f"slope_{name}"] = _slope(subsamples.values[name], subsamples.errors[name])
    widened = {name: torch.hypot(x, bend_L) if name in _BENDING else x for name, x in errors.items()}
    return widened, diagnostics


def plug_in_bias(subsamples: Subsamples) -> dict[str, Tensor]:
    """Bias of the atoms, bits [L]: what subsamples exceed their prediction by shrinks with the number of units."""
    return {name: SHARE * (subsamples.values[name] - subsamples.predicted[name]).mean(0) for name in ATOMS}


def _slope(values_RL: Tensor, errors_RL: Tensor) -> Tensor:
    """Regression of the standard error on the estimate, at the scale of the whole sample."""
    centred_RL = values_RL - values_RL.mean(0)
    slope_L = SHARE**0.5 * (centred_RL * errors_RL).sum(0) / (centred_RL**2).sum(0).clamp(min=1e-12)
    return slope_L.clamp(-_STEEPEST, _STEEPEST)
