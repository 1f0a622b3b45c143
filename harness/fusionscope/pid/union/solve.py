"""The union information of two sources about an answer: which solver, in what shape, with what gradient.

Shapes: L problems, A and B points of the sources, K answers. Joint masses in, nats out.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fusionscope.pid import device
from fusionscope.pid.information import entropy
from fusionscope.pid.union.interior_point import solve_many_answers
from fusionscope.pid.union.many_points import solve_many_points
from fusionscope.pid.union.ties import on_distinct_points
from fusionscope.pid.union.two_answers import solve_two_answers

_CELLS_FRACTION = 0.15  # of the requested width, for solving the cells; merging takes the rest


@dataclass(frozen=True, kw_only=True)
class Union:
    """Union information in nats, its certified bounds, and the dual potentials that are its gradient.

    Args:
        value_L: The estimate, differentiable in the masses; the middle of the bounds.
        lower_L: Certified lower bound.
        upper_L: Certified upper bound.
        f_LAK: Potentials of source 1: with g, the gradient of ``value - H(Y)`` in the masses, up to
            ``f_y + c_y, g_y - c_y``.
        g_LBK: Potentials of source 2.
        converged_L: Whether the bounds are as close as requested.
        iterations_L: Iterations of the solver, 0 in closed form.
    """

    value_L: Tensor
    lower_L: Tensor
    upper_L: Tensor
    f_LAK: Tensor
    g_LBK: Tensor
    converged_L: Tensor
    iterations_L: Tensor


def solve_union(p1_LAK: Tensor, p2_LBK: Tensor, tolerance: float, max_iterations: int = 60) -> Union:
    """Solves min over Q with the given source-answer margins of I_Q(X1, X2; Y).

    Args:
        p1_LAK: Joint masses of source 1 and the answer, float64, each problem summing to 1.
        p2_LBK: The same of source 2, with the same marginal of the answer.
        tolerance: Certified gap, nats.
        max_iterations: Of the interior-point method; a problem that needs more is flagged and warned about.
    """
    return _certified(p1_LAK, p2_LBK, tolerance, lambda p1, p2: _solve(p1, p2, tolerance, max_iterations))


def solve_union_of_points(p1_LAK: Tensor, p2_LBK: Tensor, tolerance: float) -> Union:
    """As :func:`solve_union`, for hundreds or thousands of points; certified to about a hundredth of a nat."""

    def solver(p1: Tensor, p2: Tensor) -> tuple[Tensor, ...]:
        return _in_one_order(
            p1, p2, lambda first, second: solve_many_points(first, second, _CELLS_FRACTION * tolerance)
        )

    return _certified(p1_LAK, p2_LBK, tolerance, solver)


def _certified(p1_LAK: Tensor, p2_LBK: Tensor, tolerance: float, solver: Callable[..., tuple[Tensor, ...]]) -> Union:
    solved = _ConditionalEntropy.apply(p1_LAK, p2_LBK, solver)  # type: ignore[no-untyped-call]
    value_L, lower_L, upper_L, f_LAK, g_LBK, iterations_L = solved
    entropy_L = entropy(p1_LAK.sum(1))
    converged_L = upper_L - lower_L <= tolerance
    if not bool(converged_L.all()):
        worst = float((upper_L - lower_L).max())
        warnings.warn(
            f"{int((~converged_L).sum())} of {len(converged_L)} union informations did not reach a certified gap of "
            f"{tolerance:.3g} nats (worst {worst:.3g}); their bounds still hold",
            RuntimeWarning,
            stacklevel=4,
        )
    constant_L = entropy_L.detach()
    return Union(
        value_L=entropy_L + value_L,
        lower_L=constant_L + lower_L,
        upper_L=constant_L + upper_L,
        f_LAK=f_LAK,
        g_LBK=g_LBK,
        converged_L=converged_L,
        iterations_L=iterations_L,
    )


class _ConditionalEntropy(torch.autograd.Function):
    """Minus the conditional entropy of the optimal coupling; by the envelope theorem its gradient is the dual."""

    @staticmethod
    def forward(
        ctx: Any, p1_LAK: Tensor, p2_LBK: Tensor, solver: Callable[..., tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        value, lower, upper, f_LAK, g_LBK, iterations = solver(p1_LAK, p2_LBK)
        ctx.save_for_backward(f_LAK, g_LBK)
        ctx.mark_non_differentiable(lower, upper, f_LAK, g_LBK, iterations)
        return value, lower, upper, f_LAK, g_LBK, iterations

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        f_LAK, g_LBK = ctx.saved_tensors
        scale_L = grads[0][:, None, None]
        return scale_L * f_LAK, scale_L * g_LBK, None


def _solve(p1_LAK: Tensor, p2_LBK: Tensor, tolerance: float, max_iterations: int) -> tuple[Tensor, ...]:
    """Leaves out answers that never occur, then takes the closed form or the interior-point method."""
    occurs_K = (p1_LAK > 0).any(0).any(0) | (p2_LBK > 0).any(0).any(0)
    answers = occurs_K.nonzero()[:, 0]
    f_LAK, g_LBK = torch.zeros_like(p1_LAK), torch.zeros_like(p2_LBK)
    none = torch.zeros(len(p1_LAK), dtype=torch.int64, device=p1_LAK.device)
    if len(answers) < 2:
        zero = torch.zeros_like(p1_LAK[:, 0, 0])
        return zero, zero.clone(), zero.clone(), f_LAK, g_LBK, none
    p1, p2 = p1_LAK[..., answers], p2_LBK[..., answers]
    if len(answers) == 2:
        lower, f, g = solve_two_answers(p1, p2)
        upper, iterations = lower.clone(), none
    else:
        lower, upper, f, g, iterations = on_distinct_points(
            p1, p2, lambda first, second: _in_chunks(first, second, tolerance, max_iterations)
        )
    f_LAK[..., answers], g_LBK[..., answers] = f, g
    return 0.5 * (lower + upper), lower, upper, f_LAK, g_LBK, iterations


def _in_chunks(p1_LAK: Tensor, p2_LBK: Tensor, tolerance: float, max_iterations: int) -> tuple[Tensor, ...]:
    if p1_LAK.shape[1] < p2_LBK.shape[1]:
        lower, upper, g, f, iterations = _in_chunks(p2_LBK, p1_LAK, tolerance, max_iterations)
        return lower, upper, f, g, iterations
    if p1_LAK.shape != p2_LBK.shape:
        return _chunk_by_chunk(p1_LAK, p2_LBK, tolerance, max_iterations)
    return _in_one_order(p1_LAK, p2_LBK, lambda p1, p2: _chunk_by_chunk(p1, p2, tolerance, max_iterations))


def _in_one_order(
    p1_LAK: Tensor, p2_LBK: Tensor, solver: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Orders sources of equal size by their masses alone, so that swapping them swaps the solution to the last bit."""
    swap_L11 = ((p1_LAK**2).sum((1, 2)) < (p2_LBK**2).sum((1, 2)))[:, None, None]
    *bounds, f, g, iterations = solver(torch.where(swap_L11, p2_LBK, p1_LAK), torch.where(swap_L11, p1_LAK, p2_LBK))
    return *bounds, torch.where(swap_L11, g, f), torch.where(swap_L11, f, g), iterations


def _chunk_by_chunk(p1_LAK: Tensor, p2_LBK: Tensor, tolerance: float, max_iterations: int) -> tuple[Tensor, ...]:
    size = p1_LAK.shape[1] * p2_LBK.shape[1] * p1_LAK.shape[2] ** 2
    chunk = device.at_once(p1_LAK, size)
    pieces = []
    for p1_nAK, p2_nBK in zip(torch.split(p1_LAK, chunk), torch.split(p2_LBK, chunk), strict=True):
        solved, iterations_n = solve_many_answers(
            p1_nAK.mT.contiguous(), p2_nBK.mT.contiguous(), tolerance, max_iterations
        )
        pieces.append((solved.lower_n, solved.upper_n, solved.f_nKA.mT, solved.g_nKB.mT, iterations_n))
    return tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))
