"""The union information of sources with hundreds or thousands of points.

Points are merged into cells, and the cells solved to a small gap: a certified lower bound. The information about the
answer that merging loses, added, is an upper bound. Then the cells' dual is extended to the points themselves: given
g, each point's f is a problem of K variables, and the other way round. That raises the lower bound to within a
second-order error and gives every sample its own potentials, hence its own influence.

Shapes: L problems, A and B points, M cells, K answers. Joint masses in, nats out.
"""

import torch
from torch import Tensor

from fusionscope.pid.cells import merge
from fusionscope.pid.extend import ascend, feasible
from fusionscope.pid.information import information_about_answer
from fusionscope.pid.points_path import solve_points

_CELLS = 256
# Where the optimum lies between the cells' value and that plus the loss: .37 to .43 for posteriors spread out over
# simplices of 3 to 6 answers, at 3 to 6 points a cell (tools/check_pid.py measures it).
_SHARE_OF_LOSS = 0.4


def solve_many_points(p1_LAK: Tensor, p2_LBK: Tensor, tolerance: float) -> tuple[Tensor, ...]:
    """Estimate and certified bounds of minus the conditional entropy, the dual of the lower bound, and Newton steps.

    Args:
        p1_LAK: Joint masses of source 1 and the answer.
        p2_LBK: The same of source 2, with the same marginal of the answer.
        tolerance: Gap to which the cells are solved, nats; what merging loses comes on top.
    """
    cells1_LMK, of1_LA = merge(p1_LAK, _CELLS)
    cells2_LMK, of2_LB = merge(p2_LBK, _CELLS)
    loss_L = information_about_answer(p1_LAK) - information_about_answer(cells1_LMK)
    loss_L = (loss_L + information_about_answer(p2_LBK) - information_about_answer(cells2_LMK)).clamp(min=0)
    solved = []
    for i in range(len(p1_LAK)):
        lower, upper, f_MK, g_MK, steps = solve_points(cells1_LMK[i], cells2_LMK[i], tolerance)
        middle = 0.5 * (lower + upper) + _SHARE_OF_LOSS * loss_L[i]
        if p1_LAK.shape[1] > _CELLS or p2_LBK.shape[1] > _CELLS:
            f_AK, g_BK = _extend(p1_LAK[i], p2_LBK[i], cells2_LMK[i], f_MK[of1_LA[i]], g_MK, of2_LB[i], tolerance)
            found = (p1_LAK[i] * f_AK).sum() + (p2_LBK[i] * g_BK).sum()
            lower, upper = torch.maximum(lower, found), upper + loss_L[i]
        else:
            f_AK, g_BK = f_MK, g_MK
        middle = torch.minimum(torch.maximum(middle, lower), upper)
        solved.append((middle, lower, upper, f_AK, g_BK, steps))
    return tuple(torch.stack(parts) for parts in zip(*solved, strict=True))


def _extend(
    p1_AK: Tensor, p2_BK: Tensor, cells2_MK: Tensor, f_AK: Tensor, g_MK: Tensor, of2_B: Tensor, mu: float
) -> tuple[Tensor, Tensor]:
    """A feasible dual on all points: first f against the cells of source 2, then g against the points of source 1."""
    f_AK = ascend(p1_AK, cells2_MK.sum(1), f_AK, g_MK, mu)
    f_AK, g_MK = feasible(f_AK, g_MK)
    g_BK = ascend(p2_BK, p1_AK.sum(1), g_MK[of2_B], f_AK, mu)
    return feasible(f_AK, g_BK)
