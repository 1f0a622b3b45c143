"""PID of samples: three posteriors per sample, wherever they come from.

Shapes: L problems, N samples, K answers.
"""

import warnings
from dataclasses import replace
from numbers import Real
from typing import Literal

import torch
from torch import Tensor

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.pid.information import NATS_TO_BITS, xlogx
from fusionscope.pid.joint import TOLERANCE_BITS, from_informations
from fusionscope.pid.result import ATOMS, PIDResult
from fusionscope.pid.tilt import consistent_masses, tilt
from fusionscope.pid.uncertainty.sample_influence import sample_uncertainty
from fusionscope.pid.union.solve import solve_union, solve_union_of_points
from fusionscope.pid.union.ties import distinct
from fusionscope.pid.validate import check_same_shape, check_simplex, check_tolerance, check_weights

DIRECT_POINTS = 64
POINTS_TOLERANCE_BITS = 0.02
UNSOLVED = {
    1: "no tilt takes a source's posteriors to the joint's answer marginal",
    2: "the tilt to the joint's answer marginal changes a source's posteriors by more than max_tilt",
    3: "an answer has mass in the joint and exactly none in a source, or the other way round",
}


def pid_from_posteriors(
    joint: Tensor,
    vision: Tensor,
    language: Tensor,
    weights: Tensor | None = None,
    estimator: str = "exact",
    *,
    inconsistent: Literal["tilt", "faithful"] = "tilt",
    max_tilt: float = 0.1,
    standard_errors: bool = False,
    tolerance: float | None = None,
) -> PIDResult:
    """Decomposes samples from their posteriors p(y|x1,x2), p(y|x1), p(y|x2).

    The decomposition depends on the sources only through their posteriors, which are sufficient for the answer, so no
    features are needed. The answer's marginal is that of ``joint``. The estimate is the plug-in on the sample: with
    posteriors known exactly its error is the sampling of x alone.

    Args:
        joint: p(y | x1, x2), [..., N, K], any floating dtype.
        vision: p(y | x1), [..., N, K].
        language: p(y | x2), [..., N, K].
        weights: Weights of the samples, [N] or [..., N], summing to 1; uniform by default.
        estimator: ``"exact"``; ``BatchEstimator`` needs features.
        inconsistent: What to do where the three answer marginals disagree. ``"tilt"`` moves the unimodal posteriors to
            the nearest consistent ones; ``"faithful"`` keeps them and reproduces the paper's arithmetic: informations
            as cross entropies against the joint's marginal, a union over margins balanced per answer. Its atoms are
            those of no distribution; they sum to the total all the same. Where an answer has mass in the joint and
            none in a source, or the other way round, no scaling balances them and a cross entropy is infinite.
        max_tilt: The mean total variation that a tilt may change posteriors by; beyond it, or where no tilt exists
            (one-hot rows), the atoms are NaN and the diagnostic ``unsolved`` is a key of ``UNSOLVED``: 1 (no tilt), 2
            (over the cap) or, in faithful mode, 3 (an answer without mass, which is also warned about).
        standard_errors: Whether to add standard errors over samples, and the same diagnostics as
            :func:`fusionscope.pid.pid_crossed`.
        tolerance: Certified width of the union information, bits; by default 1e-6 with two answers, or up to 64
            samples or different posteriors of each source, 0.02 with more (samples are then merged into 256 cells; the
            estimate is better than the width).

    Returns:
        The atoms in bits, differentiable in all three posteriors. Redundancy and the unique atoms are at least minus
        the gap; synergy may be negative where the posteriors belong to no common distribution (``negative_synergy``).

    Raises:
        InputError: NaN, negative, not normalised, empty or mismatched inputs; an unknown ``inconsistent``; a
            ``tolerance`` or ``max_tilt`` out of range.
        UnknownNameError: Another estimator.

    Reference:
        Bertschinger et al. (2014); Xiu, Luo, Nakayama (2026), arXiv 2603.29676 for the faithful mode.

    Example:
        >>> right = torch.eye(2)
        >>> result = pid_from_posteriors(right, right, torch.full((2, 2), 0.5))
        >>> round(float(result.unique_vision), 6)
        1.0
    """
    check_options(estimator, inconsistent=inconsistent, max_tilt=max_tilt, tolerance=tolerance)
    joint, vision, language = (
        check_simplex(name, p, n_event_dims=1, min_ndim=2)
        for name, p in (("joint", joint), ("vision", vision), ("language", language))
    )
    check_same_shape(("joint", joint), ("vision", vision), ("language", language))
    weights = check_weights("weights", weights, (joint.shape[-2],), like=joint)
    flat = tuple(p.reshape(-1, *p.shape[-2:]) for p in (joint, vision, language))
    w_LN = weights.reshape(-1, weights.shape[-1])
    result = _decompose(flat, w_LN, inconsistent == "faithful", max_tilt, standard_errors, tolerance)
    return result.reshaped(joint.shape[:-2])


def check_options(
    estimator: str, *, inconsistent: str = "tilt", max_tilt: float = 0.1, tolerance: float | None = None
) -> None:
    """Checks what :func:`pid_from_posteriors` is told besides posteriors, and raises what it says it does."""
    if estimator != "exact":
        raise UnknownNameError(
            f"estimator {estimator!r}",
            "posteriors alone have one estimator, 'exact'",
            "BatchEstimator takes features too",
        )
    if inconsistent not in ("tilt", "faithful"):
        raise InputError(f"inconsistent={inconsistent!r}", "it is 'tilt' or 'faithful'", "choose one of them")
    if not isinstance(max_tilt, Real) or not 0 <= max_tilt <= 1:
        raise InputError(f"max_tilt={max_tilt!r}", "it is a total variation, from 0 to 1", "pass 0.1, say")
    if tolerance is not None:
        check_tolerance(tolerance)


def _decompose(
    flat: tuple[Tensor, ...],
    w_LN: Tensor,
    faithful: bool,
    max_tilt: float,
    with_errors: bool,
    tolerance: float | None,
) -> PIDResult:
    joint_LNK, vision_LNK, language_LNK = flat
    py_LK = (joint_LNK * w_LN[..., None]).sum(1)
    sources = (vision_LNK, language_LNK)
    diagnostics = _mismatch(sources, w_LN, py_LK)
    if faithful:
        mass1, mass2 = (_balanced(p * w_LN[..., None], py_LK) for p in sources)
        unsolved_L = 3.0 * _other_answers(sources, w_LN, py_LK).double()
        _warn_of(unsolved_L)
    else:
        (vision_LNK, change1, found1), (language_LNK, change2, found2) = (tilt(p, w_LN, py_LK) for p in sources)
        diagnostics |= {"tilt_change_vision": change1, "tilt_change_language": change2}
        over_L = (torch.maximum(change1, change2) > max_tilt).double()
        unsolved_L = torch.where(found1 & found2, 2 * over_L, torch.ones_like(over_L))
        mass1, mass2 = vision_LNK * w_LN[..., None], language_LNK * w_LN[..., None]
    mass1, mass2 = consistent_masses(*(_or_independent(m, w_LN, py_LK, unsolved_L > 0) for m in (mass1, mass2)))
    if joint_LNK.shape[2] == 2 or all(_few(mass) for mass in (mass1, mass2)):
        union = solve_union(mass1, mass2, (tolerance or TOLERANCE_BITS) / NATS_TO_BITS)
    else:
        union = solve_union_of_points(mass1, mass2, (tolerance or POINTS_TOLERANCE_BITS) / NATS_TO_BITS)
    vision_L, language_L, total_L = (_cross_information(p, w_LN, py_LK) for p in (vision_LNK, language_LNK, joint_LNK))
    result = from_informations(vision_L, language_L, total_L, union, n=joint_LNK.shape[1])
    diagnostics |= {"unsolved": unsolved_L, "negative_synergy": (result.synergy.detach() < -1e-6).double()}
    errors: dict[str, Tensor] = {}
    if with_errors:
        with torch.no_grad():
            atoms = {name: x.detach() for name, x in result.atoms().items()}
            errors, more = sample_uncertainty(joint_LNK, vision_LNK, language_LNK, w_LN, union, atoms)
        diagnostics |= more
    result = replace(result, standard_errors=errors, diagnostics={**result.diagnostics, **diagnostics})
    return _without(result, unsolved_L > 0)


def _few(mass_LNK: Tensor) -> bool:
    """Whether a source has few enough points, or distinct ones, for the solver without cells."""
    return mass_LNK.shape[1] <= DIRECT_POINTS or distinct(mass_LNK.detach())[1] <= DIRECT_POINTS


def _mismatch(sources: tuple[Tensor, Tensor], w_LN: Tensor, py_LK: Tensor) -> dict[str, Tensor]:
    """Total variation between each source's answer marginal and the joint's."""
    found = [0.5 * ((p.detach() * w_LN[..., None]).sum(1) - py_LK.detach()).abs().sum(-1) for p in sources]
    names = ("marginal_mismatch_vision", "marginal_mismatch_language", "marginal_mismatch")
    return dict(zip(names, (*found, torch.maximum(*found)), strict=True))


def _balanced(mass_LNK: Tensor, py_LK: Tensor) -> Tensor:
    """Masses scaled per answer to the marginal, as the paper's Sinkhorn leaves them."""
    own_L1K = mass_LNK.sum(1, keepdim=True)
    share_LNK = torch.where(own_L1K > 0, mass_LNK / torch.where(own_L1K > 0, own_L1K, 1.0), 0.0)
    return share_LNK * py_LK[:, None]


def _other_answers(sources: tuple[Tensor, Tensor], w_LN: Tensor, py_LK: Tensor) -> Tensor:
    """Whether an answer occurs in the joint and in no row of a source, or the other way round, bool [L]."""
    own = torch.stack([(p * w_LN[..., None]).sum(1) > 0 for p in sources])
    return (own != (py_LK > 0)).any(-1).any(0)


def _warn_of(unsolved_L: Tensor) -> None:
    reasons = [f"{int((unsolved_L == code).sum())}: {why}" for code, why in UNSOLVED.items() if code in unsolved_L]
    if reasons:
        text = f"{int((unsolved_L > 0).sum())} of {len(unsolved_L)} decompositions have no finite value ("
        warnings.warn(text + "; ".join(reasons) + "); their atoms are NaN", RuntimeWarning, stacklevel=4)


def _or_independent(mass_LNK: Tensor, w_LN: Tensor, py_LK: Tensor, unsolved_L: Tensor) -> Tensor:
    """Sources that tell nothing in place of those without a solution, for the solver's sake."""
    return torch.where(unsolved_L[:, None, None], (w_LN[..., None] * py_LK[:, None]).detach(), mass_LNK)


def _cross_information(p_LNK: Tensor, w_LN: Tensor, py_LK: Tensor) -> Tensor:
    """Mean divergence of posteriors from the marginal, nats; mutual information where their mean is the marginal."""
    log_py_LK = torch.where(py_LK > 0, py_LK, torch.ones_like(py_LK)).log()
    return (w_LN * (xlogx(p_LNK) - p_LNK * log_py_LK[:, None]).sum(-1)).sum(-1)


def _without(result: PIDResult, unsolved_L: Tensor) -> PIDResult:
    """NaN in place of the atoms that have no meaning."""
    if not bool(unsolved_L.any()):
        return result
    nan = float("nan")
    names = (*ATOMS, "information_vision", "information_language", "union_lower", "union_upper")
    blank = {name: getattr(result, name).masked_fill(unsolved_L, nan) for name in names}
    errors = {name: x.masked_fill(unsolved_L, nan) for name, x in result.standard_errors.items()}
    return replace(result, **blank, standard_errors=errors, converged=result.converged & ~unsolved_L)
