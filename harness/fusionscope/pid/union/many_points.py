"""The union information of sources with hundreds or thousands of points.

Points are merged into cells, and the cells solved to a small gap: a certified lower bound. The information about the
answer that merging loses, added, is an upper bound. Then the cells' dual is extended to the points themselves: given
g, each point's f is a problem of K variables, and the other way round. That raises the lower bound to within a
second-order error and gives every sample potentials, hence an influence.

Shapes: L problems, A and B points, M cells, K answers. Joint masses in, nats out.
"""

import torch
from torch import Tensor

from fusionscope.pid import device
from fusionscope.pid.information import entropy, information_about_answer
from fusionscope.pid.union.cells import merge
from fusionscope.pid.union.extend import LOWEST, ascend, feasible
from fusionscope.pid.union.points_path import solve_points
from fusionscope.pid.union.points_system import COARSE

_CELLS = 256
# Where the optimum lies between the cells' value and that plus the loss: .37 to .43 for posteriors spread out over
# simplices of 3 to 6 answers, at 3 to 6 points a cell (tools/check_pid.py measures it).
_FRACTION_OF_LOSS = 0.4


def solve_many_points(p1_LAK: Tensor, p2_LBK: Tensor, tolerance: float) -> tuple[Tensor, ...]:
    """Estimate and certified bounds of minus the conditional entropy, the dual of the lower bound, and Newton steps.

    Args:
        p1_LAK: Joint masses of source 1 and the answer.
        p2_LBK: The same of source 2, with the same marginal of the answer.
        tolerance: Gap to which the cells are solved, nats; what merging loses comes on top.
    """
    a, b, k = p1_LAK.shape[1], p2_LBK.shape[1], p1_LAK.shape[2]
    m = min(_CELLS, max(a, b))
    chunk = device.at_once(p1_LAK, max(8 * m * max(m, COARSE * k**2), a * b))
    pieces = zip(torch.split(p1_LAK, chunk), torch.split(p2_LBK, chunk), strict=True)
    solved = [_solve_some(first, second, tolerance) for first, second in pieces]
    return tuple(torch.cat(parts) for parts in zip(*solved, strict=True))


def _solve_some(p1_LAK: Tensor, p2_LBK: Tensor, tolerance: float) -> tuple[Tensor, ...]:
    cells1_LMK, of1_LA = merge(p1_LAK, _CELLS)
    cells2_LMK, of2_LB = merge(p2_LBK, _CELLS)
    loss_L = information_about_answer(p1_LAK) - information_about_answer(cells1_LMK)
    loss_L = (loss_L + information_about_answer(p2_LBK) - information_about_answer(cells2_LMK)).clamp(min=0)
    lower_L, upper_L, f, g, steps_L = solve_points(cells1_LMK, cells2_LMK, tolerance)
    middle_L = 0.5 * (lower_L + upper_L) + _FRACTION_OF_LOSS * loss_L
    if max(p1_LAK.shape[1], p2_LBK.shape[1]) > _CELLS:
        f, g = _extend(p1_LAK, p2_LBK, cells2_LMK, _by_point(f, of1_LA), g, of2_LB, tolerance)
        lower_L = torch.maximum(lower_L, (p1_LAK * f).sum((1, 2)) + (p2_LBK * g).sum((1, 2)))
        upper_L = upper_L + loss_L
    lower_L, upper_L, f, g = _within_free_bounds(p1_LAK, p2_LBK, lower_L, upper_L, f, g)
    return torch.minimum(torch.maximum(middle_L, lower_L), upper_L), lower_L, upper_L, f, g, steps_L


def _within_free_bounds(
    p1_LAK: Tensor, p2_LBK: Tensor, lower_L: Tensor, upper_L: Tensor, f_LAK: Tensor, g_LBK: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``max(I1, I2) <= I* <= I1 + I2`` costs no solve, and is tighter where a source dominates or both are weak.

    The lower one has the potentials ``f = log p(y|x1), g = 0``, or the other way round.
    """
    entropy_L = entropy(p1_LAK.sum(1))
    first_L, second_L = information_about_answer(p1_LAK), information_about_answer(p2_LBK)
    free_L = torch.maximum(first_L, second_L) - entropy_L
    better_L11 = (free_L > lower_L)[:, None, None]
    first_L11 = (first_L >= second_L)[:, None, None]
    free_f = torch.where(first_L11, _log_posterior(p1_LAK), 0.0)
    free_g = torch.where(first_L11, 0.0, _log_posterior(p2_LBK))
    return (
        torch.maximum(lower_L, free_L),
        torch.maximum(torch.minimum(upper_L, first_L + second_L - entropy_L), torch.maximum(lower_L, free_L)),
        torch.where(better_L11, free_f, f_LAK),
        torch.where(better_L11, free_g, g_LBK),
    )


def _log_posterior(p_LNK: Tensor) -> Tensor:
    """Of points without mass, that of no information: ``log(1 / K)``."""
    total_LN1 = p_LNK.sum(-1, keepdim=True)
    posterior_LNK = torch.where(total_LN1 > 0, p_LNK / total_LN1.clamp(min=1e-300), 1.0 / p_LNK.shape[-1])
    return posterior_LNK.log().clamp(min=LOWEST)


def _extend(
    p1_LAK: Tensor, p2_LBK: Tensor, cells2_LMK: Tensor, f_LAK: Tensor, g_LMK: Tensor, of2_LB: Tensor, mu: float
) -> tuple[Tensor, Tensor]:
    """A feasible dual on all points: first f against the cells of source 2, then g against the points of source 1."""
    f_LAK = ascend(p1_LAK, cells2_LMK.sum(2), f_LAK, g_LMK, mu)
    f_LAK, g_LMK = feasible(f_LAK, g_LMK)
    g_LBK = ascend(p2_LBK, p1_LAK.sum(2), _by_point(g_LMK, of2_LB), f_LAK, mu)
    return feasible(f_LAK, g_LBK)


def _by_point(u_LMK: Tensor, of_LN: Tensor) -> Tensor:
    return u_LMK.gather(1, of_LN[..., None].expand(-1, -1, u_LMK.shape[2]))
