"""Points with the same posterior are one point: merging them loses nothing.

Inputs that come up repeatedly, answers that are certain, worlds of a few types: then N points are a handful of distinct
ones, and so is the problem to be solved.

Shapes: L problems, N points, M distinct points, K answers.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from fusionscope.pid.union.cells import pool

_SAME = 1e-12  # posteriors closer than this are one: merging them loses its square


def distinct(p_LNK: Tensor) -> tuple[Tensor, int]:
    """Which of the distinct posteriors each point has.

    Args:
        p_LNK: Joint masses of the points and the answer; points without mass are alike.

    Returns:
        A number under M for every point, int64 ``[L, N]``, and M, the most that any problem has.
    """
    if not p_LNK.numel():
        return torch.zeros(p_LNK.shape[:2], dtype=torch.int64, device=p_LNK.device), p_LNK.shape[1]
    posterior_LNK = p_LNK / p_LNK.sum(-1, keepdim=True).clamp(min=1e-300)
    # Equal posteriors are neighbours along any direction; others are so along this one by accident alone.
    direction_K = torch.arange(2, 2 + p_LNK.shape[-1], dtype=p_LNK.dtype, device=p_LNK.device).sqrt()
    order_LN = (posterior_LNK @ direction_K[:, None])[..., 0].argsort(1)
    sorted_LNK = posterior_LNK.gather(1, order_LN[..., None].expand_as(posterior_LNK))
    new_LN = (sorted_LNK[:, 1:] - sorted_LNK[:, :-1]).abs().amax(-1) > _SAME
    rank_LN = torch.cat([torch.zeros_like(order_LN[:, :1]), new_LN.long().cumsum(1)], 1)
    return torch.empty_like(rank_LN).scatter_(1, order_LN, rank_LN), int(rank_LN.max()) + 1


def on_distinct_points(
    p1_LAK: Tensor, p2_LBK: Tensor, solver: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Solves for the distinct points of each source where they are half as many as its points, or fewer.

    Args:
        p1_LAK: Joint masses of source 1 and the answer.
        p2_LBK: The same of source 2.
        solver: Returns lower and upper bounds, the potentials of both sources, and its iterations.

    Returns:
        The same, with the potentials of all points.
    """
    (mass1, of1_LA), (mass2, of2_LB) = _merged(p1_LAK), _merged(p2_LBK)
    lower, upper, f, g, iterations = solver(mass1, mass2)
    return lower, upper, _of_points(f, of1_LA), _of_points(g, of2_LB), iterations


def _merged(p_LNK: Tensor) -> tuple[Tensor, Tensor | None]:
    point_LN, m = distinct(p_LNK)
    return (p_LNK, None) if 2 * m > p_LNK.shape[1] else (pool(p_LNK, point_LN, m), point_LN)


def _of_points(f_LMK: Tensor, of_LN: Tensor | None) -> Tensor:
    return f_LMK if of_LN is None else f_LMK.gather(1, of_LN[..., None].expand(-1, -1, f_LMK.shape[-1]))
