"""The convex functions of a posterior whose means are informations and potentials, and their values at the nodes.

Every one is a mixture of kinks ``(t - m)+`` (equivalently ``(m - t)+``, which differs by a line), with the weight
``1 / (t (1 - t))``: minus the binary entropy is the mixture of all of them.

Shapes: L problems, F functions, N posteriors, G nodes, T thresholds, C = T + 1 cells between thresholds.

Reference:
    DeGroot (1962), Uncertainty, information, and sequential experiments; Savage (1971), Elicitation of personal
    probabilities (proper losses as mixtures of cost-weighted ones).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.pid.identified.basis import NODES, THRESHOLD_STRIDE, chebyshev_nodes
from fusionscope.pid.information import xlogx


class ConvexFunctions(ABC):
    """Convex functions on [0, 1], several of each problem."""

    @abstractmethod
    def at(self, m_LN: Tensor) -> Tensor:
        """Values [L, F, N]."""

    @abstractmethod
    def slope(self, m_LN: Tensor) -> Tensor:
        """A derivative from within (0, 1), finite, [L, F, N]."""

    @abstractmethod
    def sag(self, like: Tensor) -> Tensor:
        """The most by which a chord between neighbouring nodes exceeds any of the functions, a scalar."""


@dataclass(frozen=True)
class NegativeEntropy(ConvexFunctions):
    """``m log m + (1 - m) log(1 - m)``, nats."""

    def at(self, m_LN: Tensor) -> Tensor:
        return (xlogx(m_LN) + xlogx(1 - m_LN))[:, None]

    def slope(self, m_LN: Tensor) -> Tensor:
        return torch.logit(m_LN, eps=1e-12)[:, None]

    def sag(self, like: Tensor) -> Tensor:
        nodes = chebyshev_nodes(like=like)
        values = xlogx(nodes) + xlogx(1 - nodes)
        return _largest_sag(nodes, values, torch.sigmoid, lambda m: xlogx(m) + xlogx(1 - m))


@dataclass(frozen=True)
class NegativeTerm(ConvexFunctions):
    """``m log m``: one answer's part of minus an entropy, nats."""

    def at(self, m_LN: Tensor) -> Tensor:
        return xlogx(m_LN)[:, None]

    def slope(self, m_LN: Tensor) -> Tensor:
        return 1 + m_LN.clamp(min=1e-12).log()[:, None]

    def sag(self, like: Tensor) -> Tensor:
        nodes = chebyshev_nodes(like=like)
        return _largest_sag(nodes, xlogx(nodes), lambda slope: (slope - 1).exp(), xlogx)


@dataclass(frozen=True)
class Kinks(ConvexFunctions):
    """``(t - m)+`` at the thresholds below a pivot and ``(m - t)+`` from it on.

    Args:
        pivot_L: The pivot of every problem, float64.
    """

    pivot_L: Tensor

    def at(self, m_LN: Tensor) -> Tensor:
        t_T = thresholds(m_LN)
        sign_LT = self._sign(t_T)
        return (sign_LT[..., None] * (t_T[:, None] - m_LN[:, None])).clamp(min=0.0)

    def slope(self, m_LN: Tensor) -> Tensor:
        t_T = thresholds(m_LN)
        sign_LT1 = self._sign(t_T)[..., None]
        return torch.where(sign_LT1 * (t_T[:, None] - m_LN[:, None]) > 0, -sign_LT1, 0.0)

    def sag(self, like: Tensor) -> Tensor:
        return like.new_zeros(())  # every threshold is a node

    def _sign(self, t_T: Tensor) -> Tensor:
        return torch.where(t_T < self.pivot_L[:, None], 1.0, -1.0).to(t_T)


@dataclass(frozen=True)
class Mixtures(ConvexFunctions):
    """The kinks of some cells between thresholds, with the weight ``1 / (t (1 - t))``, nats.

    Args:
        pivot_L: As of :class:`Kinks`; it is a threshold, so that no cell straddles it.
        chosen_LFC: Which cells count, from 0 to 1.
    """

    pivot_L: Tensor
    chosen_LFC: Tensor

    def at(self, m_LN: Tensor) -> Tensor:
        return self.chosen_LFC @ self._cells(m_LN)[0]

    def slope(self, m_LN: Tensor) -> Tensor:
        return self.chosen_LFC @ self._cells(m_LN)[1]

    def sag(self, like: Tensor) -> Tensor:
        return NegativeEntropy().sag(like)  # what all cells together sag; a part of them sags less

    def _cells(self, m_LN: Tensor) -> tuple[Tensor, Tensor]:
        """The integral over t in each cell, and its slope, [L, C, N]."""
        edge = torch.cat([m_LN.new_zeros(1), thresholds(m_LN), m_LN.new_ones(1)])
        low_C1, high_C1 = edge[:-1, None], edge[1:, None]
        m = m_LN[:, None]
        inside = torch.minimum(torch.maximum(m, low_C1), high_C1)
        below_L1 = (high_C1 <= self.pivot_L[:, None, None]).expand(len(m_LN), -1, -1)
        # (t - m)+ is integrated from m (or the cell's start) to the cell's end, (m - t)+ from its start to m.
        start, stop = torch.where(below_L1, inside, low_C1), torch.where(below_L1, high_C1, inside)
        logs = (-xlog1(stop)) + xlog1(start)
        odds = _log_odds(stop) - _log_odds(start)
        empty = start >= stop
        value = torch.where(below_L1, logs - _times(m, odds), _times(m, odds) - logs)
        slope = torch.where(below_L1, -odds, odds)
        return torch.where(empty, 0.0, value), torch.where(empty, 0.0, slope.clamp(-40.0, 40.0))


def xlog1(t: Tensor) -> Tensor:
    """``log(1 - t)``, finite."""
    return torch.log1p(-t.clamp(max=1 - 1e-16))


def _log_odds(t: Tensor) -> Tensor:
    return torch.logit(t, eps=1e-16)


def _times(m: Tensor, length: Tensor) -> Tensor:
    return torch.where(m > 0, m * length, 0.0)


def thresholds(like: Tensor) -> Tensor:
    """The thresholds [T]: every eighth node inside (0, 1)."""
    return chebyshev_nodes(like=like)[THRESHOLD_STRIDE:-1:THRESHOLD_STRIDE]


def nearest_threshold(mean_L: Tensor) -> Tensor:
    """The threshold nearest to a mean, [L]."""
    t_T = thresholds(mean_L)
    return t_T[(mean_L[:, None] - t_T).abs().argmin(-1)]


def node_values(functions: ConvexFunctions, problems: int, like: Tensor) -> Tensor:
    """Values at the Chebyshev nodes [L, F, G]."""
    return functions.at(chebyshev_nodes(NODES, like=like).expand(problems, -1))


def _largest_sag(
    nodes: Tensor, values: Tensor, where: Callable[[Tensor], Tensor], function: Callable[[Tensor], Tensor]
) -> Tensor:
    """The most by which chords exceed a convex function, which lies farthest below where its slope is the chord's."""
    slope = values.diff() / nodes.diff()
    at = torch.minimum(torch.maximum(where(slope), nodes[:-1]), nodes[1:])
    return (values[:-1] + slope * (at - nodes[:-1]) - function(at)).max()
