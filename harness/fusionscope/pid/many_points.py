"""The union information of sources with hundreds or thousands of points.

Shapes: L problems, N points, M cells, K answers. Joint masses in, nats out.
"""

from torch import Tensor

from fusionscope.pid.cells import merge
from fusionscope.pid.information import information_about_answer
from fusionscope.pid.interior_point import solve_many_answers

_CELLS = 64


def solve_many_points(p1_LAK: Tensor, p2_LBK: Tensor, tolerance: float) -> tuple[Tensor, ...]:
    """Certified bounds of minus the conditional entropy, the dual of the lower one, and the iterations."""
    cells1, of1 = merge(p1_LAK, _CELLS)
    cells2, of2 = merge(p2_LBK, _CELLS)
    found, iterations = solve_many_answers(cells1.mT.contiguous(), cells2.mT.contiguous(), 0.1 * tolerance)
    loss = sum(
        information_about_answer(p) - information_about_answer(c) for p, c in ((p1_LAK, cells1), (p2_LBK, cells2))
    )
    f_LAK = found.f_nKA.mT.gather(1, of1[..., None].expand_as(p1_LAK))
    g_LBK = found.g_nKB.mT.gather(1, of2[..., None].expand_as(p2_LBK))
    return found.lower_n, found.upper_n + loss, f_LAK, g_LBK, iterations
