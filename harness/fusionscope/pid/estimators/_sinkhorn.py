"""Sinkhorn scaling of many matrices at once, differentiable through every round.

Legend: G problems (model x label), A rows, B columns, T rounds.

The scalings are vectors, so only they are kept for the backward pass: T (A + B) numbers a problem, where
unrolling the scaled matrices would keep T A B.
"""

from typing import Any

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.pid import device

__all__ = ["balance_masses", "sinkhorn"]

# Rounds between two looks at whether every problem has stopped, on an accelerator; the CPU looks every round.
_ROUNDS_PER_CHECK = 16


def balance_masses(r_GA: Tensor, c_GB: Tensor) -> tuple[Tensor, Tensor]:
    """Scale the row and the column targets of each problem to one common mass, their mean.

    In a minibatch the two masses of a label differ, and then no matrix has both margins: Sinkhorn would run
    to its round limit. Treats rows and columns alike.

    Args:
        r_GA: Requested row sums, [G, A], non-negative.
        c_GB: Requested column sums, [G, B], non-negative.

    Returns:
        Both, scaled.

    >>> r, c = balance_masses(torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, 1.0]]))
    >>> r.sum().item(), c.sum().item()
    (3.0, 3.0)
    """
    mass_r, mass_c = r_GA.sum(-1, keepdim=True), c_GB.sum(-1, keepdim=True)
    common = (mass_r + mass_c) / 2
    tiny = torch.finfo(r_GA.dtype).tiny
    return r_GA * (common / mass_r.clamp_min(tiny)), c_GB * (common / mass_c.clamp_min(tiny))


def sinkhorn(
    a_GAB: Tensor, r_GA: Tensor, c_GB: Tensor, *, rounds: int = 500, tolerance: float = 0.01
) -> tuple[Tensor, Tensor]:
    """Scale the rows and columns of positive matrices towards given sums.

    A problem stops as soon as its free margin (the one not just fitted) is within `tolerance` everywhere, as
    in the loop of Liang et al. (2023), but all problems advance together, and an accelerator is synchronised with
    only once in 16 rounds to see whether all have stopped.

    Args:
        a_GAB: Positive matrices, [G, A, B]; gradients flow to them.
        r_GA: Requested row sums, [G, A], non-negative.
        c_GB: Requested column sums, [G, B], non-negative.
        rounds: The most rounds (one column and one row fit each).
        tolerance: Largest absolute error of a margin at which a problem stops.

    Returns:
        The scaled matrices [G, A, B], and whether each problem stopped by tolerance, [G] of bool.

    Raises:
        InputError: `rounds` is below one.

    >>> a = torch.ones(1, 2, 2, dtype=torch.float64)
    >>> r, c = torch.tensor([[0.5, 1.5]]).double(), torch.tensor([[1.0, 1.0]]).double()
    >>> scaled, stopped = sinkhorn(a, r, c)
    >>> scaled.tolist(), stopped.tolist()
    ([[[0.25, 0.25], [0.75, 0.75]]], [True])
    """
    if rounds < 1:
        raise InputError(f"rounds={rounds}", "Sinkhorn needs at least one round", "pass rounds >= 1")
    scalings = _Scalings.apply(a_GAB, r_GA, c_GB, rounds, tolerance)  # type: ignore[no-untyped-call]
    u_GA, v_GB, stopped_G = scalings
    return u_GA[:, :, None] * a_GAB * v_GB[:, None, :], stopped_G


def _times(a_GAB: Tensor, v_GB: Tensor) -> Tensor:
    return torch.bmm(a_GAB, v_GB[:, :, None])[:, :, 0]


def _transposed_times(a_GAB: Tensor, u_GA: Tensor) -> Tensor:
    return torch.bmm(u_GA[:, None, :], a_GAB)[:, 0, :]


def _off(margin: Tensor, target: Tensor, tolerance: float) -> Tensor:
    """Which problems still miss the target by more than the tolerance, [G, 1] of bool."""
    return (margin - target).abs().amax(-1, keepdim=True) > tolerance


class _Scalings(torch.autograd.Function):
    """The scaling vectors u, v; backward runs the rounds in reverse on vectors alone."""

    @staticmethod
    def forward(
        ctx: Any, a_GAB: Tensor, r_GA: Tensor, c_GB: Tensor, rounds: int, tolerance: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        tiny = torch.finfo(a_GAB.dtype).tiny
        every = _ROUNDS_PER_CHECK if device.is_remote(a_GAB) else 1
        u, v = torch.ones_like(r_GA), torch.zeros_like(c_GB)
        active = torch.ones_like(u[:, :1], dtype=torch.bool)
        column_sum = _transposed_times(a_GAB, u).clamp_min(tiny)
        tape: list[tuple[Tensor, ...]] = []
        for round_ in range(rounds):
            u_before, fit_columns = u, active
            v = torch.where(fit_columns, c_GB / column_sum, v)
            row_sum = _times(a_GAB, v).clamp_min(tiny)
            active = active & _off(u * row_sum, r_GA, tolerance)
            u = torch.where(active, r_GA / row_sum, u)
            # Where the masses differ, u would grow and v shrink without end; only their product counts.
            size = u.mean(-1, keepdim=True).clamp_min(tiny)
            tape.append((fit_columns, column_sum, u_before, v, active, row_sum, u, size))
            u, v = u / size, v * size
            column_sum = _transposed_times(a_GAB, u).clamp_min(tiny)
            active = active & _off(v * column_sum, c_GB, tolerance)
            if round_ % every == every - 1 and not bool(active.any()):
                break
        ctx.save_for_backward(a_GAB)
        ctx.tape = tape
        stopped = ~active[:, 0]
        ctx.mark_non_differentiable(stopped)
        return u, v, stopped

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (a_GAB,) = ctx.saved_tensors
        g_u, g_v = grads[0], grads[1]
        left: list[Tensor] = []
        right: list[Tensor] = []
        for fit_columns, column_sum, u_before, v, fit_rows, row_sum, u, size in reversed(ctx.tape):
            # What leaves here depends on u v alone, so the size counts as a constant.
            g_u, g_v = g_u / size, g_v * size
            g_row = torch.where(fit_rows, -g_u * u / row_sum, 0)
            g_u, g_v = torch.where(fit_rows, 0, g_u), g_v + _transposed_times(a_GAB, g_row)
            g_column = torch.where(fit_columns, -g_v * v / column_sum, 0)
            g_v, g_u = torch.where(fit_columns, 0, g_v), g_u + _times(a_GAB, g_column)
            left += [g_row, u_before]
            right += [v, g_column]
        g_a = torch.einsum("tga,tgb->gab", torch.stack(left), torch.stack(right))
        return g_a, None, None, None, None
