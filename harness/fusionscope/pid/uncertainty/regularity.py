"""Where influence functions suffice for an interval, and what to do where they do not.

The units are split into random halves, and both halves decomposed. A half is as far from the whole as the whole is
from the truth, in distribution, and its complement as far in the other direction: half their difference is odd in that
perturbation, and their mean, less the whole, is even: the curve and the kink, at the very scale of the sampling error,
without what is linear. Three things are read from the halves:

* the half-sample curvature, the spread of the even part. Every atom is a sum of informations, which do not kink, and of
  either unique atom; the straighter one counts, so that a source that dominates is regular;
* the bias, its mean;
* the slope of the standard error: how it grows with its atom (information is quadratic in small effects), which makes
  intervals asymmetric.

A kink is within reach, too, where a unique atom that varies is less than three of its standard errors from 0: on the
other side it would be 0. It concerns the atoms whose standard error is not large against that of the unique atom.

Both tests are consistent: where the dual is unique modulo its gauge, and no unique atom is 0, the flags vanish as the
units become many; at equal channels they do not. Near 0, flags depend on the draw: of draws of which most are flagged
the others are a selection, and their intervals hold less well (tools/check_pid.py).

Shapes: L problems, R splits, 2 halves; A images, B questions, K answers.

Reference:
    McCarthy (1969), Pseudo-replication: half samples; Efron (1979), Bootstrap methods, section 4 (complementary
    halves); Fang, Santos (2019), Inference on directionally differentiable functions; Tibshirani (1988), Variance
    stabilization and the bootstrap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.pid.result import ATOMS

HALF_TOLERANCE = 2e-4  # nats
DEGENERATE = 3e-4  # bits: under it a standard error is the solver's gap and second-order terms
_REACH = 3.0  # standard errors from 0 within which a unique atom is near a kink
_CONCERNS = 0.35  # a kink of this size, in standard errors of an atom, concerns it; tools/check_pid.py: calibration
_MOST_CURVED = 0.6  # half-sample curvature in standard errors of an atom beyond which they do not describe it
_STEEPEST = 0.3  # a slope from few halves is cut off here, where it moves an interval by two thirds of its half width
_UNIQUE = ("unique_vision", "unique_language")


@dataclass(frozen=True, kw_only=True)
class Halves:
    """Decompositions of complementary halves, bits, by name of atom and information.

    Args:
        whole: The estimates from all units ``[L]``.
        values: Those of the halves ``[R, 2, L]``.
        errors: Standard errors of those, from the half alone ``[R, 2, L]``.
        sign: 1, or -1 where what these halves vary by is contained in two other sets of them.
    """

    whole: dict[str, Tensor]
    values: dict[str, Tensor]
    errors: dict[str, Tensor]
    sign: int = 1

    def even(self, name: str) -> Tensor:
        """The mean of two complementary halves less the whole ``[R, L]``."""
        return self.values[name].mean(1) - self.whole[name]

    def odd(self, name: str) -> tuple[Tensor, Tensor]:
        """Differences of two complementary halves in value and in standard error, at the scale of the whole."""
        values_R2L, errors_R2L = self.values[name], self.errors[name]
        return values_R2L[:, 0] - values_R2L[:, 1], 0.5**0.5 * (errors_R2L[:, 0] - errors_R2L[:, 1])


def drawn(p_LABK: Tensor, w_LAB: Tensor, picks: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Parts of a grid, one after the other ``[R L, a, b]``, their weights summing to 1, and what these summed to."""
    p, w = (torch.cat([x.index_select(1, a).index_select(2, b) for a, b in picks]) for x in (p_LABK, w_LAB))
    mass = w.sum((1, 2))
    return p, w / mass.clamp(min=1e-300)[:, None, None], mass


def pairs_of(parts: list[Tensor]) -> Tensor:
    """Values of half after half, ``[r, L]`` at a time, by split and half ``[R, 2, L]``."""
    values = torch.cat(parts)
    return values.view(-1, 2, values.shape[-1])


def judge(estimates: dict[str, Tensor], errors: dict[str, Tensor], splits: Sequence[Halves]) -> dict[str, Tensor]:
    """The diagnostics of a kink.

    Args:
        estimates: Plug-in atoms, bits [L].
        errors: Standard errors from the influence functions, bits [L].
        splits: Halves of the same problems: one set of them, or three with signs as a two-way clustered variance has.

    Returns:
        ``half_sample_curvature`` (bits), ``kink_ratio`` (that curvature in standard errors of the union),
        ``nonregular`` (1 where a kink concerns any atom that varies), and for each atom ``nonregular_<atom>`` (1 where
        a kink concerns it, or its influence function vanishes) and ``standard_error_slope_<atom>``.
    """
    curvature_L = torch.minimum(*(_curvature(splits, name) for name in _UNIQUE))
    near_L = torch.zeros_like(curvature_L)
    for name in _UNIQUE:
        within_L = estimates[name] < _REACH * errors[name]
        near_L = torch.where(within_L, torch.maximum(near_L, errors[name]), near_L)
    diagnostics = {
        "half_sample_curvature": curvature_L,
        "kink_ratio": curvature_L / errors["union"].clamp(min=DEGENERATE),
    }
    any_L = torch.zeros_like(curvature_L, dtype=torch.bool)
    for name in ATOMS:
        error_L = errors[name].clamp(min=DEGENERATE)
        vanishes_L = errors[name] < DEGENERATE
        kinked_L = (near_L > _CONCERNS * error_L) | (curvature_L > _MOST_CURVED * error_L)
        any_L = any_L | (kinked_L & ~vanishes_L)
        diagnostics[f"nonregular_{name}"] = (kinked_L | vanishes_L).double()
        diagnostics[f"standard_error_slope_{name}"] = _slope(splits, name)
    return {**diagnostics, "nonregular": any_L.double()}


def half_sample_bias(splits: Sequence[Halves]) -> dict[str, Tensor]:
    """Bias of atoms and informations, bits [L]: a half is biased twice as much as the whole."""
    names = splits[0].values
    return {name: torch.stack([split.sign * split.even(name).mean(0) for split in splits]).sum(0) for name in names}


def _curvature(splits: Sequence[Halves], name: str) -> Tensor:
    """The spread of the even parts; where sets of halves overlap, at least that of each alone."""
    variances = [(split.sign, split.even(name).var(0)) for split in splits]
    combined_L = torch.stack([sign * variance for sign, variance in variances]).sum(0)
    for sign, variance in variances:
        combined_L = torch.maximum(combined_L, variance) if sign > 0 else combined_L
    return combined_L.sqrt()


def _slope(splits: Sequence[Halves], name: str) -> Tensor:
    """Regression of the standard error on the estimate, from the odd parts, at the scale of the whole sample."""
    odd = [split.odd(name) for split in splits if split.sign > 0]
    products_L = torch.stack([(value_RL * error_RL).sum(0) for value_RL, error_RL in odd]).sum(0)
    squares_L = torch.stack([(value_RL**2).sum(0) for value_RL, _ in odd]).sum(0)
    return (products_L / squares_L.clamp(min=1e-12)).clamp(-_STEEPEST, _STEEPEST)
