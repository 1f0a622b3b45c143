"""A benchmark that was run whole: nothing is sampled, and the decomposition of its own law is exact.

Shapes: L layers, N rows, A images, B questions, K answers.
"""

import torch
from torch import Tensor

from fusionscope.pid.identified.rows import Pairs
from fusionscope.pid.information import NATS_TO_BITS, information_about_answer
from fusionscope.pid.union import Union, solve_union, solve_union_of_points

_TOLERANCE = 7e-7  # nats: 1e-6 bits
_POINTS_TOLERANCE = 0.014  # nats: .02 bits
_DIRECT_POINTS = 64  # of the source with fewer


def exact_ends(p_LNK: Tensor, pairs: Pairs) -> dict[str, dict[str, Tensor]]:
    """Ends of every quantity, bits; those of the union information are the solver's certified bounds."""
    masses_LNK = p_LNK * pairs.weights_N[:, None]
    first, second = (
        p_LNK.new_zeros(p_LNK.shape[0], count, p_LNK.shape[2]).index_add(1, index_N, masses_LNK)
        for index_N, count in ((pairs.image_N, pairs.n_images), (pairs.question_N, pairs.n_questions))
    )
    union = union_of(first, second)
    total, vision, language = (information_about_answer(x) for x in (masses_LNK, first, second))
    low, high = union.lower_L, union.upper_L
    ends = {
        "redundancy": (vision + language - high, vision + language - low),
        "unique_vision": (low - language, high - language),
        "unique_language": (low - vision, high - vision),
        "synergy": (total - high, total - low),
        "total": (total, total),
        "information_vision": (vision, vision),
        "information_language": (language, language),
        "union": (low, high),
    }
    return {name: _ends(*(NATS_TO_BITS * x for x in both)) for name, both in ends.items()}


def union_of(first_LAK: Tensor, second_LBK: Tensor) -> Union:
    """The union information of joint masses with any numbers of points: in closed form, solved, or bounded."""
    sizes = (first_LAK.shape[1], second_LBK.shape[1])
    if first_LAK.shape[-1] == 2 or min(sizes) <= _DIRECT_POINTS:
        return solve_union(first_LAK, second_LBK, _TOLERANCE)
    first, second = (  # points without mass make the numbers equal
        torch.nn.functional.pad(x, (0, 0, 0, max(sizes) - x.shape[1])) for x in (first_LAK, second_LBK)
    )
    return solve_union_of_points(first, second, _POINTS_TOLERANCE)


def _ends(low: Tensor, high: Tensor) -> dict[str, Tensor]:
    return {"lower": low, "upper": high, "identified_lower": low, "identified_upper": high}
