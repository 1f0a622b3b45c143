"""A benchmark that was run whole: nothing is sampled, and the decomposition of its own law is exact.

Shapes: L layers, N rows, A images, B questions, K answers.
"""

from torch import Tensor

from fusionscope.pid.identified.rows import Pairs
from fusionscope.pid.information import NATS_TO_BITS, information_about_answer
from fusionscope.pid.union import solve_union, solve_union_of_points

_TOLERANCE = 1e-9
_POINTS_TOLERANCE = 0.014  # nats: .02 bits
_DIRECT_POINTS = 64


def exact_ends(p_LNK: Tensor, pairs: Pairs) -> dict[str, dict[str, Tensor]]:
    """Ends of every quantity, bits; those of the union information are the solver's certified bounds."""
    masses_LNK = p_LNK * pairs.weights_N[:, None]
    first, second = (
        p_LNK.new_zeros(p_LNK.shape[0], count, p_LNK.shape[2]).index_add(1, index_N, masses_LNK)
        for index_N, count in ((pairs.image_N, pairs.n_images), (pairs.question_N, pairs.n_questions))
    )
    is_direct = p_LNK.shape[-1] == 2 or max(first.shape[1], second.shape[1]) <= _DIRECT_POINTS
    if is_direct:
        union = solve_union(first, second, _TOLERANCE)
    else:
        union = solve_union_of_points(first, second, _POINTS_TOLERANCE)
    total, vision, language = (information_about_answer(x) for x in (masses_LNK, first, second))
    low, high = (union.value_L, union.value_L) if is_direct else (union.lower_L, union.upper_L)
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


def _ends(low: Tensor, high: Tensor) -> dict[str, Tensor]:
    return {"lower": low, "upper": high, "identified_lower": low, "identified_upper": high}
