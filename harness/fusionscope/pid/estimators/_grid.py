"""The exact decomposition of a grid: plug-in, bias correction, standard errors.

Shapes: L problems, A images, B questions, K answers.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fusionscope.pid.information import NATS_TO_BITS
from fusionscope.pid.joint import decompose
from fusionscope.pid.local import local_scores, with_atoms
from fusionscope.pid.result import ATOMS, PIDResult
from fusionscope.pid.uncertainty.bias import grid_bias
from fusionscope.pid.uncertainty.influence import halved, standard_errors
from fusionscope.pid.uncertainty.regularity import Halves, judge
from fusionscope.pid.union import Union


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A checked grid.

    Args:
        p_LABK: p(y | a, b).
        w_LAB: Weights of the pairs, summing to 1.
        sampled: Whether the images, and the questions, are a sample: they have a standard error.
        random: Whether they are a random sample: it has a bias, too.
    """

    p_LABK: Tensor
    w_LAB: Tensor
    sampled: tuple[bool, bool]
    random: tuple[bool, bool]

    @property
    def joint_LABK(self) -> Tensor:
        """p(a, b, y)."""
        return self.p_LABK * self.w_LAB[..., None]

    def detached(self) -> "Grid":
        """The same without gradients."""
        return replace(self, p_LABK=self.p_LABK.detach(), w_LAB=self.w_LAB.detach())


def decompose_grid(grid: Grid, tolerance: float, *, correct: bool, with_errors: bool) -> PIDResult:
    """Atoms in bits [L]; the bias correction counts as a constant in gradients.

    Args:
        grid: The grid.
        tolerance: Certified gap of the union information, bits.
        correct: Subtract the first-order bias of the sampled axes.
        with_errors: Add standard errors and the diagnostics of a kink.
    """
    result, union = decompose(grid.joint_LABK, tolerance)
    with torch.no_grad():
        fixed, whole = grid.detached(), _informations(result)
        split = {
            axes: halved(fixed.p_LABK, fixed.w_LAB, whole, axes) for axes in _halved_axes(grid, correct, with_errors)
        }
        errors, judged = _uncertainty(fixed, result, union, split) if with_errors else ({}, {})
        result = replace(result, standard_errors=errors, diagnostics={**result.diagnostics, **judged})
        if not (correct and any(grid.random)):
            return result
        bias = grid_bias(fixed.p_LABK, fixed.w_LAB, whole, grid.random, split[grid.random])
    return _corrected(result, bias)


def _halved_axes(grid: Grid, correct: bool, with_errors: bool) -> set[tuple[bool, bool]]:
    """Bias comes of random axes, standard errors of sampled ones; most often they are the same."""
    wanted = [grid.random] * correct + [grid.sampled] * with_errors
    return {axes for axes in wanted if any(axes)}


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
    grid: Grid, result: PIDResult, union: Union, split: dict[tuple[bool, bool], Halves]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Standard errors and the diagnostics of a kink."""
    scores = local_scores(grid.p_LABK, grid.joint_LABK, union)
    errors = standard_errors(scores, grid.joint_LABK, grid.w_LAB, grid.sampled)
    if not any(grid.sampled):
        return errors, {}
    estimates = {name: x.detach() for name, x in result.atoms().items()}
    sizes = [n for n, is_sampled in zip(grid.w_LAB.shape[1:], grid.sampled, strict=True) if is_sampled]
    degrees = torch.full_like(errors["union"], max(1.0, min(sizes) - 1.0))
    return errors, {**judge(estimates, errors, [split[grid.sampled]]), "degrees_of_freedom": degrees}


def _corrected(result: PIDResult, bias: dict[str, Tensor]) -> PIDResult:
    """Subtracts the bias from the informations, hence consistently from the atoms."""
    changes = with_atoms({name: NATS_TO_BITS * x for name, x in bias.items()})
    names = (*ATOMS, "total", "information_vision", "information_language")
    plug_in = {f"plug_in_{name}": getattr(result, name).detach() for name in names}
    diagnostics = {**result.diagnostics, **plug_in, "bias_union": changes["union"]}
    corrected = {name: getattr(result, name) - changes[name] for name in names}
    return replace(result, diagnostics=diagnostics, **corrected)
