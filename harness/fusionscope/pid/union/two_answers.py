"""The union information of two sources about a binary answer, in closed form and O(N log N).

For a binary answer the Blackwell order is a lattice: the union information is the information of the channel whose
ROC curve is the upper concave envelope of the two. Equivalently its Bayes risk, at every prior odds, is the smaller
of the two sources' risks R1, R2. With the posterior p of answer 1, binary entropy is a mixture of cost-weighted
risks, ``H(p) = integral min((1-s) p, s (1-p)) / (s (1-s)) ds``, so ``H* = integral min(R1, R2) / (s (1-s)) ds``.
Between two posteriors R_i = (1-s) alpha_i + s beta_i is linear, hence every piece integrates in closed form into
non-negative terms, and nothing cancels.

Shapes: L problems, A and B points of the sources, N = A + B, 2 answers.

Reference:
    Bertschinger, Rauh (2014), The Blackwell relation defines no lattice (binary answers are the exception);
    Blackwell (1953), Equivalent comparisons of experiments.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

_LOWEST = -745.0  # log of the smallest double: stands for minus infinity where the mass is zero


def solve_two_answers(p1_LA2: Tensor, p2_LB2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Minimal conditional entropy and its dual solution.

    Args:
        p1_LA2: Joint masses of source 1 and the answer, float64.
        p2_LB2: The same of source 2, with the same marginal of the answer.

    Returns:
        ``value_L``, minus the conditional entropy of the optimal coupling in nats, and the dual potentials
        ``f_LA2`` and ``g_LB2`` with ``value = sum f p1 + sum g p2``. Where the sources tie, the potentials are the
        mean of the two extreme solutions, so that swapping the sources swaps them.
    """
    n_first = p1_LA2.shape[1]
    mass_LN2 = torch.cat([p1_LA2, p2_LB2], 1)
    odds_LN, order_LN = torch.sort(_log_odds(mass_LN2), dim=1, stable=True)
    sorted_LN2 = mass_LN2.gather(1, order_LN[..., None].expand_as(mass_LN2))
    is_first_LN = order_LN < n_first
    lo_LM, hi_LM = _intervals(odds_LN)
    alpha1, beta1 = _risk(sorted_LN2 * is_first_LN[..., None])
    alpha2, beta2 = _risk(sorted_LN2 * ~is_first_LN[..., None])
    cross_LM, left1_LM, right1_LM = _winners(alpha1 - alpha2, beta1 - beta2, lo_LM, hi_LM)
    value_L = torch.zeros_like(odds_LN[:, 0])
    measures = []
    for start, stop, weight_LM in ((lo_LM, cross_LM, left1_LM), (cross_LM, hi_LM, right1_LM)):
        up = _difference(logsigmoid(start), logsigmoid(stop))
        down = _difference(logsigmoid(-stop), logsigmoid(-start))
        alpha = weight_LM * alpha1 + (1 - weight_LM) * alpha2
        beta = weight_LM * beta1 + (1 - weight_LM) * beta2
        value_L = value_L - (_times(alpha, up) + _times(beta, down)).sum(1)
        measures.append((weight_LM, up, down))
    return value_L, *_potentials(measures, order_LN, n_first)


def _log_odds(mass_LN2: Tensor) -> Tensor:
    odds = mass_LN2[..., 1].log() - mass_LN2[..., 0].log()
    return torch.where(mass_LN2.sum(-1) > 0, odds, torch.zeros_like(odds))


def _intervals(odds_LN: Tensor) -> tuple[Tensor, Tensor]:
    """The N + 1 intervals of log odds between consecutive posteriors."""
    edge = torch.full_like(odds_LN[:, :1], torch.inf)
    return torch.cat([-edge, odds_LN], 1), torch.cat([odds_LN, edge], 1)


def _risk(mass_LN2: Tensor) -> tuple[Tensor, Tensor]:
    """alpha: mass of answer 1 at or below each interval; beta: mass of answer 0 above it."""
    zero = torch.zeros_like(mass_LN2[:, :1, 0])
    alpha = torch.cat([zero, _running_sum(mass_LN2[..., 1])], 1)
    beta = torch.cat([_running_sum(mass_LN2[..., 0].flip(1)).flip(1), zero], 1)
    return alpha, beta


def _running_sum(x_LN: Tensor) -> Tensor:
    """As ``cumsum``, which on a GPU refuses to work for ``Trainer(deterministic=True)``; alike on every device."""
    shift = 1
    while shift < x_LN.shape[1]:
        x_LN = x_LN + pad(x_LN[:, :-shift], (shift, 0))
        shift *= 2
    return x_LN


def _winners(d_alpha: Tensor, d_beta: Tensor, lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the risks cross inside each interval, and source 1's weight in the parts before and after."""
    noise = 1e-15  # rounding of cumulative masses, whose sum is at most 1
    a = torch.where(d_alpha.abs() > noise, d_alpha, torch.zeros_like(d_alpha))
    b = torch.where(d_beta.abs() > noise, d_beta, torch.zeros_like(d_beta))
    crossing = torch.where(a * b < 0, a.abs().log() - b.abs().log(), hi)
    crossing = torch.minimum(torch.maximum(crossing, lo), hi)
    before = torch.where(a == 0, b, a)
    after = torch.where(b == 0, a, b)
    return crossing, 0.5 * (1 - before.sign()), 0.5 * (1 - after.sign())


def _difference(start: Tensor, stop: Tensor) -> Tensor:
    """``stop - start`` where both may be minus infinity."""
    return torch.where(start == stop, torch.zeros_like(start), stop - start)


def _times(mass: Tensor, length: Tensor) -> Tensor:
    return torch.where(mass > 0, mass * length, torch.zeros_like(mass))


def _potentials(measures: list[tuple[Tensor, Tensor, Tensor]], order_LN: Tensor, n_first: int) -> tuple[Tensor, Tensor]:
    """f_1(a) = -(measure above a where source 1 decides), f_0(a) = -(measure below it); g likewise."""
    both = []
    for source in (0, 1):
        up = torch.zeros_like(measures[0][1])
        down = torch.zeros_like(up)
        for weight, piece_up, piece_down in measures:
            part = weight if source == 0 else 1 - weight
            up, down = up + _times(part, piece_up), down + _times(part, piece_down)
        above = _running_sum(up.flip(1)).flip(1)[:, 1:]
        below = _running_sum(down)[:, :-1]
        sorted_LN2 = torch.stack([-below, -above], -1).clamp(min=_LOWEST)
        unsorted = torch.empty_like(sorted_LN2).scatter_(1, order_LN[..., None].expand_as(sorted_LN2), sorted_LN2)
        both.append(unsorted[:, :n_first] if source == 0 else unsorted[:, n_first:])
    return both[0], both[1]
