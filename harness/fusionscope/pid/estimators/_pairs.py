"""The decomposition of pairs: consistent masses, the union information, and what has no solution.

Shapes: L problems, N pairs, K answers.
"""

import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fusionscope.pid.information import NATS_TO_BITS, xlogx
from fusionscope.pid.joint import TOLERANCE_BITS, from_informations
from fusionscope.pid.result import ATOMS, PIDResult
from fusionscope.pid.tilt import consistent_masses
from fusionscope.pid.union import Union, distinct, solve_union, solve_union_of_points

DIRECT_POINTS = 64
POINTS_TOLERANCE_BITS = 0.02
UNSOLVED = {
    1: "no tilt takes a source's posteriors to the joint's answer marginal",
    2: "the tilt to the joint's answer marginal changes a source's posteriors by more than max_tilt",
    3: "an answer has mass in the joint and exactly none in a source, or the other way round",
}


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Checked pairs.

    Args:
        joint_LNK: p(y | image, question).
        vision_LNK: p(y | image).
        language_LNK: p(y | question).
        w_LN: Weights of the pairs, summing to 1.
    """

    joint_LNK: Tensor
    vision_LNK: Tensor
    language_LNK: Tensor
    w_LN: Tensor

    @property
    def sources(self) -> tuple[Tensor, Tensor]:
        """Both unimodal posteriors."""
        return self.vision_LNK, self.language_LNK

    @property
    def py_LK(self) -> Tensor:
        """The answer's marginal, that of the joint posteriors."""
        return (self.joint_LNK * self.w_LN[..., None]).sum(1)


def solve_pairs(
    pairs: Pairs, masses: tuple[Tensor, Tensor], unsolved_L: Tensor, tolerance: float | None
) -> tuple[PIDResult, Union]:
    """Atoms from cross informations and the union information of masses; NaN where there is no solution.

    Args:
        pairs: The posteriors whose informations count.
        masses: Joint masses [L, N, K] of each source and the answer.
        unsolved_L: A key of ``UNSOLVED``, 0 where there is a solution.
        tolerance: Certified width of the union information, bits; None for the default of this many points.
    """
    py_LK = pairs.py_LK
    mass1, mass2 = consistent_masses(*(_or_independent(mass, pairs, unsolved_L > 0) for mass in masses))
    if py_LK.shape[1] == 2 or all(_few(mass) for mass in (mass1, mass2)):
        union = solve_union(mass1, mass2, (tolerance or TOLERANCE_BITS) / NATS_TO_BITS)
    else:
        union = solve_union_of_points(mass1, mass2, (tolerance or POINTS_TOLERANCE_BITS) / NATS_TO_BITS)
    vision_L, language_L, total_L = (
        _cross_information(p, pairs.w_LN, py_LK) for p in (*pairs.sources, pairs.joint_LNK)
    )
    result = from_informations(vision_L, language_L, total_L, union, n=pairs.joint_LNK.shape[1])
    diagnostics = {"unsolved": unsolved_L, "negative_synergy": (result.synergy.detach() < -1e-6).double()}
    return replace(result, diagnostics={**result.diagnostics, **diagnostics}), union


def mismatch(pairs: Pairs) -> dict[str, Tensor]:
    """Total variation between each source's answer marginal and the joint's."""
    py_LK = pairs.py_LK.detach()
    vision_L, language_L = (
        0.5 * ((p.detach() * pairs.w_LN[..., None]).sum(1) - py_LK).abs().sum(-1) for p in pairs.sources
    )
    return {
        "marginal_mismatch_vision": vision_L,
        "marginal_mismatch_language": language_L,
        "marginal_mismatch": torch.maximum(vision_L, language_L),
    }


def without_unsolved(result: PIDResult) -> PIDResult:
    """NaN in place of the atoms that have no meaning."""
    unsolved_L = result.diagnostics["unsolved"] > 0
    if not bool(unsolved_L.any()):
        return result
    nan = float("nan")
    names = (*ATOMS, "information_vision", "information_language", "union_lower", "union_upper")
    blank = {name: getattr(result, name).masked_fill(unsolved_L, nan) for name in names}
    errors = {name: x.masked_fill(unsolved_L, nan) for name, x in result.standard_errors.items()}
    return replace(result, **blank, standard_errors=errors, converged=result.converged & ~unsolved_L)


def warn_of_unsolved(unsolved_L: Tensor) -> None:
    """Says how many decompositions have no finite value, and why."""
    reasons = [f"{int((unsolved_L == code).sum())}: {why}" for code, why in UNSOLVED.items() if code in unsolved_L]
    if reasons:
        text = f"{int((unsolved_L > 0).sum())} of {len(unsolved_L)} decompositions have no finite value ("
        warnings.warn(text + "; ".join(reasons) + "); their atoms are NaN", RuntimeWarning, stacklevel=4)


def _few(mass_LNK: Tensor) -> bool:
    """Whether a source has few enough points, or distinct ones, for the solver without cells."""
    return mass_LNK.shape[1] <= DIRECT_POINTS or distinct(mass_LNK.detach())[1] <= DIRECT_POINTS


def _or_independent(mass_LNK: Tensor, pairs: Pairs, unsolved_L: Tensor) -> Tensor:
    """Sources without information in place of those without a solution, for the solver's sake."""
    independent_LNK = (pairs.w_LN[..., None] * pairs.py_LK[:, None]).detach()
    return torch.where(unsolved_L[:, None, None], independent_LNK, mass_LNK)


def _cross_information(p_LNK: Tensor, w_LN: Tensor, py_LK: Tensor) -> Tensor:
    """Mean divergence of posteriors from the marginal, nats; mutual information where their mean is the marginal."""
    log_py_LK = torch.where(py_LK > 0, py_LK, torch.ones_like(py_LK)).log()
    return (w_LN * (xlogx(p_LNK) - p_LNK * log_py_LK[:, None]).sum(-1)).sum(-1)
