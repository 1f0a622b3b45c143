"""PID of a crossed design: every image with every question, no masking.

Shapes: L problems, A images, B questions, K answers.
"""

from dataclasses import replace

import torch
from torch import Tensor

from fusionscope.pid.information import NATS_TO_BITS
from fusionscope.pid.joint import TOLERANCE_BITS, decompose
from fusionscope.pid.local import local_scores, with_atoms
from fusionscope.pid.result import ATOMS, PIDResult
from fusionscope.pid.uncertainty.bias import plug_in_bias
from fusionscope.pid.uncertainty.influence import halved, standard_errors
from fusionscope.pid.uncertainty.regularity import judge
from fusionscope.pid.union.solve import Union
from fusionscope.pid.validate import check_simplex, check_tolerance, check_weights


def pid_crossed(
    conditionals: Tensor,
    weights: Tensor | None = None,
    *,
    standard_errors: bool = False,
    images_enumerated: bool = False,
    questions_enumerated: bool = False,
    bias_correction: bool = True,
    tolerance: float = TOLERANCE_BITS,
) -> PIDResult:
    """Decomposes what a model's answers tell about images and questions that were all paired.

    p(y|a) and p(y|b) are weighted row and column means, so the sources are consistent by construction and nothing is
    masked. With uniform weights the estimand is interventional (independent images and questions); with the weights of
    a natural pairing it is observational, redundancy by dependence included.

    Args:
        conditionals: p(y | a, b), [..., A, B, K], any floating dtype.
        weights: Weights of the pairs [A, B] or [..., A, B], summing to 1, zeros allowed; uniform by default.
        standard_errors: Whether to add standard errors over the axes that are not enumerated, for
            :func:`fusionscope.pid.confidence_intervals`, and the diagnostics ``nonregular`` (1 where a kink concerns
            any atom), ``bend``, ``kink_ratio``, and for each atom ``nonregular_<atom>`` and ``slope_<atom>``
            (:mod:`fusionscope.pid.uncertainty.regularity`). With few units, plus or minus 1.96 of them is narrow.
        images_enumerated: The images are the whole population: no bias correction, no error on this axis.
        questions_enumerated: The same for the questions.
        bias_correction: Subtract the first-order plug-in bias of the sampled axes. The uncorrected values are in the
            diagnostics as ``plug_in_<name>``. The correction counts as a constant in gradients.
        tolerance: Certified gap of the union information, bits. The bounds are those of the uncorrected union.

    Returns:
        The atoms in bits, differentiable in ``conditionals``. Corrected atoms may fall under zero by sampling noise.

    Raises:
        InputError: NaN, negative, not normalised, empty or of too few dimensions; weights of another shape; a
            tolerance that is not positive.

    Example:
        >>> p = torch.eye(2).reshape(2, 1, 2).expand(2, 3, 2)
        >>> result = pid_crossed(p, images_enumerated=True, questions_enumerated=True)
        >>> round(float(result.unique_vision), 6)
        1.0
    """
    p = check_simplex("conditionals", conditionals, n_event_dims=1, min_ndim=3)
    w = check_weights("weights", weights, tuple(p.shape[-3:-1]), like=p)
    p_LABK, w_LAB = p.reshape(-1, *p.shape[-3:]), w.reshape(-1, *w.shape[-2:])
    sampled = (not images_enumerated, not questions_enumerated)
    joint_LABK = p_LABK * w_LAB[..., None]
    result, union = decompose(joint_LABK, check_tolerance(tolerance))
    with torch.no_grad():
        p_LABK, joint_LABK = p_LABK.detach(), joint_LABK.detach()
        extra = _uncertainty(p_LABK, joint_LABK, w_LAB, (result, union), sampled) if standard_errors else ({}, {})
        bias = plug_in_bias(p_LABK, w_LAB, _informations(result), sampled) if bias_correction and any(sampled) else {}
    result = replace(result, standard_errors=extra[0], diagnostics={**result.diagnostics, **extra[1]})
    return (_corrected(result, bias) if bias else result).reshaped(p.shape[:-3])


def _informations(result: PIDResult) -> dict[str, Tensor]:
    """The four informations of a result, detached, in nats."""
    union = result.redundancy + result.unique_vision + result.unique_language
    named = {
        "information_vision": result.information_vision,
        "information_language": result.information_language,
        "total": result.total,
        "union": union,
    }
    return {name: x.detach() / NATS_TO_BITS for name, x in named.items()}


def _uncertainty(
    p_LABK: Tensor, joint_LABK: Tensor, w_LAB: Tensor, solved: tuple[PIDResult, Union], sampled: tuple[bool, bool]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    result, union = solved
    scores = local_scores(p_LABK, joint_LABK, union)
    errors = standard_errors(scores, joint_LABK, w_LAB, sampled)
    if not any(sampled):
        return errors, {}
    estimates = {name: x.detach() for name, x in result.atoms().items()}
    diagnostics = judge(estimates, errors, halved(p_LABK, w_LAB, _informations(result), sampled))
    units = min(n for n, is_sampled in zip(w_LAB.shape[1:], sampled, strict=True) if is_sampled)
    return errors, {**diagnostics, "degrees_of_freedom": torch.full_like(errors["union"], max(1.0, units - 1.0))}


def _corrected(result: PIDResult, bias: dict[str, Tensor]) -> PIDResult:
    """Subtracts the bias from the informations, hence consistently from the atoms."""
    changes = with_atoms({name: NATS_TO_BITS * x for name, x in bias.items()})
    names = (*ATOMS, "total", "information_vision", "information_language")
    plug_in = {f"plug_in_{name}": getattr(result, name).detach() for name in names}
    diagnostics = {**result.diagnostics, **plug_in, "bias_union": changes["union"]}
    corrected = {name: getattr(result, name) - changes[name] for name in names}
    return replace(result, diagnostics=diagnostics, **corrected)
