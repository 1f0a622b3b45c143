"""Bounds of the union information of two answers, from bounds of the two sources' potentials.

With ``E_i(t) = E k(t, m_i)``, k the kink ``(t - m)+`` below a pivot and ``(m - t)+`` above it, the union information is

    I* = integral over t in (0, 1) of max(E_1, E_2)(t) / (t (1 - t)) dt - B,   nats,

where B, the Bregman divergence of minus the entropy between p(y = 1) and the pivot, is 0 for the pivot p(y = 1) itself
and is next to nothing for the threshold nearest to it. So ``R = integral min(E_1, E_2) - B`` and
``U_1 = integral (E_1 - E_2)+``. For any choice c(t) in [0, 1], ``integral c E_1 + (1 - c) E_2`` is a lower bound of
the integral of the maximum and an upper bound of the minimum's: two functions of one posterior each. The choice is made
on other folds. The other ends integrate bounds of every threshold, between which E_i, convex in t, is at most its chord
and at least its chord less what :func:`cell_loss` gives.

Shapes: L problems, T thresholds, C = T + 1 cells, N rows, V folds.

Reference:
    Bertschinger, Rauh (2014), The Blackwell relation defines no lattice (binary answers are the exception); Blackwell
    (1953); Chernozhukov, Lee, Rosen (2013), Intersection bounds (why a maximum over noisy bounds is no bound, and one
    over expected bounds is).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fusionscope.pid.identified.bounds import Source, bound
from fusionscope.pid.identified.estimate import ENDS, Clusters, Estimate, mean_of
from fusionscope.pid.identified.functions import Kinks, Mixtures, nearest_threshold, thresholds
from fusionscope.pid.information import xlogx


@dataclass(frozen=True, kw_only=True)
class Potentials:
    """Both ends of both sources' potentials at every threshold.

    Args:
        ends: By (source, end), estimates ``[L, T]`` with influences ``[L, T, N]``.
        choice_VLC: Where source 1's potential is the larger, as every fold's other folds see it, 0 or 1.
        pivot_L: The threshold nearest to p(y = 1).
        divergence: B.
        chords: B, where chords are integrated: they take the potential at the pivot to be ``E (m - t)+`` on both sides.
    """

    ends: dict[tuple[int, str], Estimate]
    choice_VLC: Tensor
    pivot_L: Tensor
    divergence: Estimate
    chords: Estimate


def potentials(p_LN: Tensor, sources: tuple[Source, Source], clusters: Clusters, radius: float) -> Potentials:
    """Bounds both sources' potentials at all thresholds."""
    mean = mean_of(p_LN, clusters.weights_N)
    pivot_L = nearest_threshold(mean.value_L)
    kinks = Kinks(pivot_L)
    ends: dict[tuple[int, str], Estimate] = {}
    middle = []
    for i, source in enumerate(sources):
        rows = {end: bound(kinks, source, radius, end) for end in ENDS}
        ends |= {(i, end): mean_of(x, clusters.weights_N) for end, x in rows.items()}
        middle.append(0.5 * (rows["lower"] + rows["upper"]))
    divergence = _divergence(mean, pivot_L, clusters)
    return Potentials(
        ends=ends,
        choice_VLC=_choices(middle[0] - middle[1], clusters),
        pivot_L=pivot_L,
        divergence=divergence,
        chords=divergence - _below_pivot(mean, pivot_L),
    )


def _divergence(mean: Estimate, pivot_L: Tensor, clusters: Clusters) -> Estimate:
    """``f(mu) - f(t) - f'(t) (mu - t)`` of minus the entropy f, without its bias of second order, nats."""
    mu_L = mean.value_L
    value_L = xlogx(mu_L) + xlogx(1 - mu_L) - mu_L * pivot_L.log() - (1 - mu_L) * (1 - pivot_L).log()
    spread_L = (mu_L * (1 - mu_L)).clamp(min=1e-300)
    bias_L = torch.where(mu_L * (1 - mu_L) > 0, clusters.variance(mean.influence_LN) / spread_L / 2, 0.0)
    slope_L = torch.logit(mu_L, eps=1e-12) - torch.logit(pivot_L)
    return Estimate(value_L - bias_L, slope_L[:, None] * mean.influence_LN, -(2**0.5) * bias_L)


def _below_pivot(mean: Estimate, pivot_L: Tensor) -> Estimate:
    """The integral over the cell below the pivot t of the line from 0 to ``t - mu = E (t - m)+ - E (m - t)+``."""
    edge = torch.cat([pivot_L.new_zeros(1), thresholds(pivot_L)])
    below_L = edge[torch.searchsorted(edge, pivot_L) - 1]
    rise_L = _line(below_L, pivot_L, torch.zeros_like(pivot_L), torch.ones_like(pivot_L))
    influence_LN = -rise_L[:, None] * mean.influence_LN
    return Estimate(rise_L * (pivot_L - mean.value_L), influence_LN, torch.zeros_like(rise_L))


def _choices(difference_LTN: Tensor, clusters: Clusters) -> Tensor:
    choices = []
    for fold in range(clusters.folds):
        others_N = clusters.weights_N * (clusters.fold_N != fold)
        at_LT = difference_LTN @ (others_N / others_N.sum())
        edge = torch.zeros_like(at_LT[:, :1])
        padded = torch.cat([edge, at_LT, edge], 1)
        choices.append((padded[:, 1:] + padded[:, :-1] > 0).to(at_LT))
    return torch.stack(choices)


@dataclass(frozen=True, kw_only=True)
class BinaryUnion:
    """Bounds of the union information and of the atoms that its integral gives, nats."""

    union: dict[str, Estimate]
    redundancy: dict[str, Estimate]
    unique: tuple[dict[str, Estimate], dict[str, Estimate]]


def binary_union(p_LN: Tensor, sources: tuple[Source, Source], clusters: Clusters, radius: float) -> BinaryUnion:
    """Bounds the integrals of the maximum, the minimum and the differences of the two potentials.

    Args:
        p_LN: p(y = 1 | both) of the rows.
        sources: Either source's posterior of y = 1.
        clusters: Of the rows.
        radius: Standard errors that the bounds will be reported with.
    """
    of = potentials(p_LN, sources, clusters, radius)
    first, second = of.choice_VLC, 1 - of.choice_VLC
    mixed = {}
    for source, name, choice in ((0, "1", first), (0, "2", second), (1, "1", first), (1, "2", second)):
        for end in ENDS:
            mixed[source, name, end] = _mixture(choice, of.pivot_L, sources[source], radius, end)
    lower = {i: of.ends[i, "lower"] for i in (0, 1)}
    upper = {i: of.ends[i, "upper"] for i in (0, 1)}
    lost = cell_loss(of.pivot_L)
    return BinaryUnion(
        union={
            "lower": mixed[0, "1", "lower"] + mixed[1, "2", "lower"] - of.divergence,
            "upper": _integral(upper[0], upper[1], "maximum") - of.chords,
        },
        redundancy={
            "lower": _less(_integral(lower[0], lower[1], "minimum") - of.chords, 2 * lost),  # of either source's chords
            "upper": mixed[0, "2", "upper"] + mixed[1, "1", "upper"] - of.divergence,
        },
        unique=(
            {
                "lower": mixed[0, "1", "lower"] - mixed[1, "1", "upper"],
                "upper": _less(_integral(upper[0], lower[1], "excess"), -lost),
            },
            {
                "lower": mixed[1, "2", "lower"] - mixed[0, "2", "upper"],
                "upper": _less(_integral(upper[1], lower[0], "excess"), -lost),
            },
        ),
    )


def _less(estimate: Estimate, amount: Tensor) -> Estimate:
    return replace(estimate, value_L=estimate.value_L - amount)


def _mixture(choice_VLC: Tensor, pivot_L: Tensor, source: Source, radius: float, end: str) -> Estimate:
    """A bound of the integral over the chosen cells; every row counts with the choice of its own fold."""
    functions = [Mixtures(pivot_L, choice_LC[:, None]) for choice_LC in choice_VLC]
    return mean_of(bound(functions, source, radius, end)[:, 0], source.clusters.weights_N)


def cell_loss(like: Tensor) -> Tensor:
    """By how much the chords of one potential may exceed it in the integral, nats, a scalar.

    For m in the cell (t_j, t_(j+1)) the excess is ``A (t_(j+1) - m)``, ``A = integral (t - t_j) w / (t_(j+1) - t_j)``,
    less the integral of the kink, concave in m; and 0 for m in other cells. By symmetry the last cell is the first's.
    """
    edge = torch.cat([like.new_zeros(1), thresholds(like)])
    low, high = edge[:-1], edge[1:]
    rise = _line(low, high, torch.zeros_like(low), torch.ones_like(high))
    m = torch.sigmoid(torch.logit(high) - rise)
    kink = torch.log1p(-m) - torch.log1p(-high) - m * (torch.logit(high) - torch.logit(m))
    return (rise * (high - m) - kink).max()


def _integral(a: Estimate, b: Estimate, what: str) -> Estimate:
    """The integral of max, min or positive difference of two chord interpolations, with its influence."""
    with torch.enable_grad():
        leaves = [x.value_L.detach().clone().requires_grad_() for x in (a, b)]
        value_L = _integrate(leaves[0], leaves[1], what)
        slopes = torch.autograd.grad(value_L.sum(), leaves)
    influence = sum(torch.einsum("lt,ltn->ln", g, x.influence_LN) for g, x in zip(slopes, (a, b), strict=True))
    return Estimate(value_L.detach(), torch.as_tensor(influence), torch.zeros_like(a.curved_L[..., 0]))


def _integrate(a_LT: Tensor, b_LT: Tensor, what: str) -> Tensor:
    t_T = thresholds(a_LT)
    low, high = t_T[:-1], t_T[1:]
    difference = a_LT - b_LT
    left, right = difference[:, :-1], difference[:, 1:]
    crosses = left.sign() * right.sign() < 0
    split = torch.where(crosses, left / torch.where(crosses, left - right, 1.0), 0.5)
    middle = low + split * (high - low)
    a_middle, b_middle = (torch.lerp(x[:, :-1], x[:, 1:], split) for x in (a_LT, b_LT))
    total = torch.zeros_like(a_LT[:, 0])
    for start, stop, a_ends, b_ends in (
        (low.expand_as(middle), middle, (a_LT[:, :-1], a_middle), (b_LT[:, :-1], b_middle)),
        (middle, high.expand_as(middle), (a_middle, a_LT[:, 1:]), (b_middle, b_LT[:, 1:])),
    ):
        ends = [_pick(x, y, what) for x, y in zip(a_ends, b_ends, strict=True)]
        total = total + _line(start, stop, ends[0], ends[1]).sum(1)
    first, last = (_pick(a_LT[:, i], b_LT[:, i], what) for i in (0, -1))
    return total - first * torch.log1p(-t_T[0]) / t_T[0] - last * t_T[-1].log() / (1 - t_T[-1])


def _pick(a: Tensor, b: Tensor, what: str) -> Tensor:
    if what == "maximum":
        return torch.maximum(a, b)
    if what == "minimum":
        return torch.minimum(a, b)
    return (a - b).clamp(min=0.0)


def _line(start: Tensor, stop: Tensor, y0: Tensor, y1: Tensor) -> Tensor:
    """The integral of a line from ``y0`` to ``y1``, weighted by ``1 / (t (1 - t))``, in two non-negative parts.

    ``1 / (t (1 - t)) = 1 / t + 1 / (1 - t)``. A line that starts at 0 is 0 there.
    """
    width = (stop - start).clamp(min=1e-300)
    slope = torch.where(stop > start, (y1 - y0) / width, 0.0)
    at_zero, at_one = y0 - slope * start, y0 + slope * (1 - start)
    up = torch.where(start > 0, (stop / start.clamp(min=1e-300)).log(), 0.0)
    down = torch.log1p(-start) - torch.log1p(-stop)
    return at_zero * up + at_one * down
