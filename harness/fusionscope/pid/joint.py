"""PID of a joint distribution that is known: ground truth, gates, and the core of the crossed design.

Shapes: L problems (flattened leading dimensions), A values of vision, B of language, K answers.
"""

import torch
from torch import Tensor

from fusionscope.pid.information import NATS_TO_BITS, information_about_answer
from fusionscope.pid.result import PIDResult
from fusionscope.pid.union import Union, solve_union
from fusionscope.pid.validate import check_simplex, check_tolerance

TOLERANCE_BITS = 1e-6


def pid_from_joint(p: Tensor, *, tolerance: float = TOLERANCE_BITS) -> PIDResult:
    """Exact partial information decomposition of a joint distribution, after Bertschinger et al.

    Args:
        p: p(x1, x2, y), [..., A, B, K], any floating dtype, summing to 1 over the last three dimensions. Leading
            dimensions are independent problems, solved as one batch.
        tolerance: Certified gap of the union information, bits. With two answers the solution is closed and exact.

    Returns:
        The atoms in bits, differentiable in ``p`` (at kinks, such as equal channels, a subgradient). Every atom is at
        least minus the gap.

    Raises:
        InputError: NaN, negative, not normalised, empty or of too few dimensions; a tolerance that is not positive.

    Reference:
        Bertschinger et al. (2014), Quantifying unique information, eq. 2 to 5.

    Example:
        >>> p = torch.zeros(2, 2, 2)
        >>> p[0, 0, 0] = p[0, 1, 1] = p[1, 0, 1] = p[1, 1, 0] = 0.25
        >>> {name: round(float(bits), 6) for name, bits in pid_from_joint(p).atoms().items()}
        {'redundancy': 0.0, 'unique_vision': 0.0, 'unique_language': 0.0, 'synergy': 1.0}
    """
    p = check_simplex("p", p, n_event_dims=3, min_ndim=3)
    p_LABK = p.reshape(-1, *p.shape[-3:])
    return decompose(p_LABK, check_tolerance(tolerance))[0].reshaped(p.shape[:-3])


def decompose(p_LABK: Tensor, tolerance: float, n: int | None = None) -> tuple[PIDResult, Union]:
    """The decomposition of checked joints [L, A, B, K], and the solution it rests on."""
    p1_LAK, p2_LBK = p_LABK.sum(2), p_LABK.sum(1)
    union = solve_union(p1_LAK, p2_LBK, tolerance / NATS_TO_BITS)
    total_L = information_about_answer(p_LABK.flatten(1, 2))
    first_L, second_L = information_about_answer(p1_LAK), information_about_answer(p2_LBK)
    result = from_informations(
        first_L, second_L, total_L, union, n=p_LABK.shape[1] * p_LABK.shape[2] if n is None else n
    )
    return result, union


def from_informations(vision_L: Tensor, language_L: Tensor, total_L: Tensor, union: Union, *, n: int) -> PIDResult:
    """The four atoms from the three informations and the union information, all in nats."""
    vision, language, total, both = (NATS_TO_BITS * x for x in (vision_L, language_L, total_L, union.value_L))
    return PIDResult(
        redundancy=vision + language - both,
        unique_vision=both - language,
        unique_language=both - vision,
        synergy=total - both,
        total=total,
        information_vision=vision,
        information_language=language,
        union_lower=NATS_TO_BITS * union.lower_L,
        union_upper=NATS_TO_BITS * union.upper_L,
        converged=union.converged_L,
        n=n,
        diagnostics={"iterations": union.iterations_L.to(torch.float64)},
    )
