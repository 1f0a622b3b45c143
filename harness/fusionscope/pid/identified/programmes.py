"""Polynomials that majorise a function on all of [0, 1], solved in batches and certified.

``E f(m) <= E q(m)`` for every polynomial ``q >= f``, and ``E q(m)`` is a combination of the moments of m, which
products of repeated draws estimate without bias. The least such bound is the dual of a linear programme over measures
on [0, 1]. Here the objective is the bound plus a number of its standard errors,

    minimise over c   b c + r sqrt((c + s) V (c + s))   subject to   q_c >= f on [0, 1],

which is the dual of the same programme over measures whose moments lie in an ellipsoid of radius r around b. A batch
of them is solved on a grid by a primal-dual interior-point method; then each polynomial is raised by what it may lack
between the grid's points, so that it is a bound whatever the solver did.

Estimated moments may be those of no measure, and then no ellipsoid need meet the measures': the programme would have
no minimum. So b is first moved to the nearest moments of a measure, in units of its own error.

Shapes: B programmes, D = degree + 1 coefficients in the shifted Legendre basis, G nodes.

Reference:
    Karlin, Studden (1966), Tchebycheff Systems, ch. XII (bounds by majorising polynomials); Ben-Tal, Nemirovski (1998),
    Robust convex optimization (the ellipsoid's dual); Boyd, Vandenberghe (2004), Convex Optimization, sec. 11.7.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from fusionscope.pid.identified.basis import NODES, SOLVER_STRIDE, at_nodes, chebyshev_nodes, largest_derivatives

ROUNDS = (12, 4, 4, 6, 10, 14)  # iterations
_SMALL_GAP = 2e-5  # of f's range
_SMALL_DISTANCE = 1e-3  # of a squared standard error
_TO_THE_BOUNDARY = 0.95
_CENTRING = 0.15
_ROUNDING = 1e-12
_AT_ONCE = 4096


class Objective(ABC):
    """A convex function of each programme's coefficients."""

    moments_BD: Tensor

    @property
    def degree(self) -> int:
        return self.moments_BD.shape[-1] - 1

    @abstractmethod
    def __getitem__(self, index: Any) -> Self:
        """The objective of some of the programmes."""

    @abstractmethod
    def value(self, c_BD: Tensor) -> Tensor:
        """Values [B]."""

    @abstractmethod
    def derivatives(self, c_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient [B, D] and Hessian [B, D, D]."""


@dataclass(frozen=True, kw_only=True)
class BoundWithError(Objective):
    """A bound plus a number of its standard errors.

    Args:
        moments_BD: b, the mean of the Legendre polynomials of m, float64.
        covariance_BDD: V, the covariance of that mean (of clusters), float64.
        shift_BD: s, coefficients that the bound is used together with, float64.
        radius: r, a number of standard errors.
    """

    moments_BD: Tensor
    covariance_BDD: Tensor
    shift_BD: Tensor
    radius: float

    def __getitem__(self, index: Any) -> Self:
        return replace(
            self,
            moments_BD=self.moments_BD[index],
            covariance_BDD=self.covariance_BDD[index],
            shift_BD=self.shift_BD[index],
        )

    def in_units_of(self, size_B1: Tensor) -> "BoundWithError":
        """The objective of coefficients that are to be multiplied by a size."""
        return replace(self, shift_BD=self.shift_BD / size_B1)

    def value(self, c_BD: Tensor) -> Tensor:
        return (self.moments_BD * c_BD).sum(-1) + self.radius * self._error(c_BD)[0]

    def derivatives(self, c_BD: Tensor) -> tuple[Tensor, Tensor]:
        error_B, slope_BD = self._error(c_BD)
        along_BD = slope_BD / error_B[:, None]
        hessian = (self.covariance_BDD - along_BD[:, :, None] * along_BD[:, None, :]) / error_B[:, None, None]
        return self.moments_BD + self.radius * along_BD, self.radius * hessian

    def _error(self, c_BD: Tensor) -> tuple[Tensor, Tensor]:
        moved_BD = c_BD + self.shift_BD
        slope_BD = (self.covariance_BDD @ moved_BD[..., None])[..., 0]
        return ((moved_BD * slope_BD).sum(-1) + _ROUNDING).sqrt(), slope_BD


@dataclass(frozen=True, kw_only=True)
class _Distance(Objective):
    """``b c + c V c / 2``: with ``q_c >= 0`` the dual of the squared distance from b to the moments of measures."""

    moments_BD: Tensor
    covariance_BDD: Tensor

    def __getitem__(self, index: Any) -> Self:
        return replace(self, moments_BD=self.moments_BD[index], covariance_BDD=self.covariance_BDD[index])

    def value(self, c_BD: Tensor) -> Tensor:
        return ((self.moments_BD + 0.5 * self._moved(c_BD)) * c_BD).sum(-1)

    def derivatives(self, c_BD: Tensor) -> tuple[Tensor, Tensor]:
        return self.moments_BD + self._moved(c_BD), self.covariance_BDD

    def _moved(self, c_BD: Tensor) -> Tensor:
        return (self.covariance_BDD @ c_BD[..., None])[..., 0]


def nearest_moments(moments_BD: Tensor, covariance_BDD: Tensor) -> Tensor:
    """The moments of a probability measure on [0, 1] that are nearest to estimates, in the metric of their covariance.

    Args:
        moments_BD: Estimated means of the Legendre polynomials, float64.
        covariance_BDD: Their covariance, float64.

    Returns:
        float64 [B, D]: the moments of the solver's own measure, so that they are some measure's wherever it stopped.
    """
    # In units of the largest variance the coefficients are of order 1.
    unit_B = covariance_BDD.diagonal(dim1=-2, dim2=-1).amax(-1).clamp(min=1e-300)
    covariance_BDD = covariance_BDD / unit_B[:, None, None]
    objective = _Distance(moments_BD=moments_BD, covariance_BDD=covariance_BDD)
    nothing_BG = moments_BD.new_zeros(len(moments_BD), NODES)
    measure_BG = _interior_point(objective, nothing_BG, _SMALL_DISTANCE * unit_B)[1]
    v_GD = at_nodes(measure_BG.shape[1], objective.degree, 0, moments_BD.device)
    return measure_BG @ v_GD / measure_BG.sum(-1, keepdim=True)


def majorants(objective: BoundWithError, f_BG: Tensor, sag_B: Tensor | None = None) -> Tensor:
    """Coefficients [B, D] of polynomials that are at least f on all of [0, 1].

    Args:
        objective: What to minimise.
        f_BG: Values of f at the Chebyshev nodes: a convex function where ``sag_B`` is None; otherwise a concave one.
        sag_B: Of a concave f, the most by which it exceeds its chord in any interval between nodes.

    Returns:
        float64 [B, D]: feasible whatever the solver reached, and near the optimum (1e-4 of f's range) as a rule.
    """
    parts = []
    for start in range(0, len(f_BG), _AT_ONCE):
        index = slice(start, start + _AT_ONCE)
        c_BD = _scaled(objective[index], f_BG[index])
        parts.append(_raised(c_BD, f_BG[index], None if sag_B is None else sag_B[index]))
    return torch.cat(parts)


def _raised(c_BD: Tensor, f_BG: Tensor, sag_B: Tensor | None) -> Tensor:
    """Adds to the constant what the polynomial may lack anywhere in [0, 1].

    In an interval of width w, q is at least its chord minus ``w^2 / 8 max q''``, and f at most its own chord (convex)
    plus its sag (concave). There q'' itself is at most its larger end plus ``w^2 / 8 max |q''''|``.
    """
    degree = c_BD.shape[-1] - 1
    nodes_G = chebyshev_nodes(NODES, like=f_BG)
    margin_BG = c_BD @ at_nodes(NODES, degree, 0, f_BG.device).mT - f_BG
    bend_BG = c_BD @ at_nodes(NODES, degree, 2, f_BG.device).mT
    fourth_B = c_BD.abs() @ largest_derivatives(degree, 4, like=f_BG)
    eighth_C = nodes_G.diff() ** 2 / 8
    bend_BC = torch.maximum(bend_BG[:, 1:], bend_BG[:, :-1]) + eighth_C * fourth_B[:, None]
    least_BC = torch.minimum(margin_BG[:, 1:], margin_BG[:, :-1]) - eighth_C * bend_BC.clamp(min=0.0)
    lacking_B = -least_BC.amin(-1) + _ROUNDING
    if sag_B is not None:
        lacking_B = lacking_B + sag_B
    raised = c_BD.clone()
    raised[:, 0] += lacking_B
    return raised


def _scaled(objective: BoundWithError, f_BG: Tensor) -> Tensor:
    """Solves in units of f's range."""
    size_B1 = (f_BG.amax(-1, keepdim=True) - f_BG.amin(-1, keepdim=True)).clamp(min=1e-300)
    gap_B = torch.full_like(size_B1[:, 0], _SMALL_GAP)
    c_BD, _ = _interior_point(objective.in_units_of(size_B1), f_BG / size_B1, gap_B)
    return size_B1 * c_BD


def _interior_point(objective: Objective, f_BG: Tensor, gap_B: Tensor) -> tuple[Tensor, Tensor]:
    """A primal-dual interior-point method on every second node, from a constant above f.

    Gives coefficients [B, D], and the dual measure on those nodes, which is positive.

    After every round the programmes whose gap is down to ``gap_B`` leave the batch.
    """
    f_BG = f_BG[:, ::SOLVER_STRIDE]
    v_GD = at_nodes(f_BG.shape[-1], objective.degree, 0, f_BG.device)
    c_BD = f_BG.new_zeros(len(f_BG), objective.degree + 1)
    c_BD[:, 0] = f_BG.amax(-1) + 0.5
    dual_BG = 1.0 / (f_BG.shape[-1] * (c_BD @ v_GD.mT - f_BG))
    active_A = torch.arange(len(f_BG), device=f_BG.device)
    for iterations in ROUNDS:
        some = objective[active_A]
        before_AD = c_BD[active_A]
        c_AD, dual_AG, gap_A = _advance(some, f_BG[active_A], v_GD, before_AD, dual_BG[active_A], iterations)
        better_A = some.value(c_AD) <= some.value(before_AD)
        c_BD[active_A] = torch.where(better_A[:, None], c_AD, before_AD)
        dual_BG[active_A] = dual_AG
        active_A = active_A[better_A & (gap_A > gap_B[active_A])]
        if len(active_A) == 0:
            break
    return c_BD, dual_BG


def _advance(
    objective: Objective, f_BG: Tensor, v_GD: Tensor, c_BD: Tensor, dual_BG: Tensor, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Some Newton steps on the perturbed optimality conditions, and the gap they leave."""
    squares_GDD = (v_GD[:, :, None] * v_GD[:, None, :]).flatten(1)
    identity_DD = torch.eye(v_GD.shape[1], dtype=f_BG.dtype, device=f_BG.device)
    slack_BG = c_BD @ v_GD.mT - f_BG
    for _ in range(iterations):
        gradient_BD, hessian = objective.derivatives(c_BD)
        target_B1 = _CENTRING * (slack_BG * dual_BG).mean(-1, keepdim=True)
        ratio_BG = dual_BG / slack_BG
        system = hessian + (ratio_BG @ squares_GDD).reshape(hessian.shape)
        scale = system.diagonal(dim1=-2, dim2=-1).amax(-1)[:, None, None]
        factor = torch.linalg.cholesky_ex(system + 1e-13 * scale * identity_DD)[0]
        right_BD = (target_B1 / slack_BG) @ v_GD - gradient_BD
        step_BD = torch.cholesky_solve(right_BD[..., None], factor)[..., 0]
        move_BG = step_BD @ v_GD.mT
        turn_BG = target_B1 / slack_BG - dual_BG - ratio_BG * move_BG
        size = torch.minimum(_longest(slack_BG, move_BG), _longest(dual_BG, turn_BG))[:, None]
        sound = torch.isfinite(step_BD).all(-1, keepdim=True)
        c_BD = torch.where(sound, c_BD + size * step_BD, c_BD)
        dual_BG = torch.where(sound, dual_BG + size * turn_BG, dual_BG)
        slack_BG = (c_BD @ v_GD.mT - f_BG).clamp(min=1e-14)
    return c_BD, dual_BG, (slack_BG * dual_BG).sum(-1)


def _longest(x_BG: Tensor, step_BG: Tensor) -> Tensor:
    """The largest step up to 1 that keeps 95 % of the way to the boundary."""
    shrink_B = (-step_BG / x_BG).amax(-1)
    return (_TO_THE_BOUNDARY / shrink_B.clamp(min=_TO_THE_BOUNDARY)).clamp(max=1.0)
