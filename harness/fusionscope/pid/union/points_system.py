"""The Newton system of :mod:`fusionscope.pid.union.points_path`, matrix-free, reduced to one source.

With ``E = exp(f)``, ``G = exp(g)`` and ``V = w / slack`` the Hessian is ``diag(E (w G))`` plus, per point, ``E E' *
(V (G G'))`` on the diagonal blocks, and ``v -> E [w (G v)]_y + E_y sum_y' E_y' [V (G_y G_y' v_y')]`` off them.
Eliminating f leaves a system in g that conjugate gradients solve in few rounds; the preconditioner is its K x K
blocks and its restriction to coarse cells, which takes care of what is smooth.

Shapes: L problems, A and B points, M coarse cells of the second source, K answers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.pid.union.cells import merge, pool

MOST_ROUNDS = 60
_RELATIVE = 0.05  # of the residual: an inexact Newton step needs no more
COARSE = 48  # cells of the preconditioner


@dataclass(frozen=True, kw_only=True)
class Iterate:
    """Potentials of both sources, multipliers and slacks of all pairs."""

    f_LAK: Tensor
    g_LBK: Tensor
    w_LAB: Tensor
    slack_LAB: Tensor

    def select(self, keep_l: Tensor) -> "Iterate":
        return Iterate(**{name: tensor.index_select(0, keep_l) for name, tensor in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The coarse cells of the second source, the same at every iterate.

    Args:
        of_LB: The cell of every point.
        basis_LBM: The same, one-hot.
        empty_LM: 1 for a cell without points.
    """

    of_LB: Tensor
    basis_LBM: Tensor
    empty_LM: Tensor

    def select(self, keep_l: Tensor) -> "Cells":
        return Cells(**{name: tensor.index_select(0, keep_l) for name, tensor in vars(self).items()})


def coarse_cells(p2_LBK: Tensor) -> Cells:
    of_LB = merge(p2_LBK, COARSE)[1]
    basis_LBM = torch.nn.functional.one_hot(of_LB, min(COARSE, p2_LBK.shape[1])).to(p2_LBK)
    return Cells(of_LB=of_LB, basis_LBM=basis_LBM, empty_LM=(basis_LBM.sum(1) == 0).to(p2_LBK))


class PointsSystem:
    """The system at one iterate and one target of the complementarity ``w slack``."""

    def __init__(self, p1_LAK: Tensor, p2_LBK: Tensor, at: Iterate, target_LAB: Tensor, cells: Cells) -> None:
        self.e_LAK, self.g_LBK, self.w_LAB = at.f_LAK.exp(), at.g_LBK.exp(), at.w_LAB
        self.v_LAB = at.w_LAB / at.slack_LAB
        self.off_LAB = 1 - self.e_LAK @ self.g_LBK.mT - at.slack_LAB
        aimed_LAB = target_LAB / at.slack_LAB - self.v_LAB * self.off_LAB
        self.gradient_LAK = p1_LAK - self.e_LAK * (aimed_LAB @ self.g_LBK)
        self.gradient_LBK = p2_LBK - self.g_LBK * (aimed_LAB.mT @ self.e_LAK)
        mass_LAK, mass_LBK = self.e_LAK * (at.w_LAB @ self.g_LBK), self.g_LBK * (at.w_LAB.mT @ self.e_LAK)
        self.inverse_LAKK = inverse(_blocks(mass_LAK, self.e_LAK, self.v_LAB, self.g_LBK))
        self.block_LBKK = _blocks(mass_LBK, self.g_LBK, self.v_LAB.mT, self.e_LAK)
        self.inverse_LBKK = inverse(self.block_LBKK)
        self.basis_LBM = cells.basis_LBM
        self.coarse_LCC = inverse(self._restricted(cells))

    def solve(self, rounds: int | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The Newton directions of f, g and the slacks, and the rounds of conjugate gradients that they took ``[L]``.

        Args:
            rounds: How many to make, without a synchronisation to see whether they are needed; None to look after each.
        """
        first_LAK1 = self.inverse_LAKK @ self.gradient_LAK[..., None]
        right_LBK1 = self.gradient_LBK[..., None] - self._to_second(first_LAK1)
        dg_LBK1, taken_L = self._conjugate_gradients(right_LBK1, rounds)
        df_LAK = (self.inverse_LAKK @ (self.gradient_LAK[..., None] - self._to_first(dg_LBK1)))[..., 0]
        dg_LBK = dg_LBK1[..., 0]
        ds_LAB = (self.e_LAK * df_LAK) @ self.g_LBK.mT + self.e_LAK @ (self.g_LBK * dg_LBK).mT
        return df_LAK, dg_LBK, self.off_LAB - ds_LAB, taken_L

    def _to_first(self, x_LBK1: Tensor) -> Tensor:
        return _across(self.w_LAB, self.v_LAB, self.e_LAK, self.g_LBK, x_LBK1)

    def _to_second(self, x_LAK1: Tensor) -> Tensor:
        return _across(self.w_LAB.mT, self.v_LAB.mT, self.g_LBK, self.e_LAK, x_LAK1)

    def _restricted(self, cells: Cells) -> Tensor:
        """The reduced system on one value per cell and answer, ``[L, M K, M K]``."""
        k, m = self.g_LBK.shape[2], self.basis_LBM.shape[2]
        straight = self.w_LAB @ (self.basis_LBM[..., None] * self.g_LBK[:, :, None]).flatten(2)
        crossed = self.v_LAB @ (self.basis_LBM[..., None] * _products(self.g_LBK, self.g_LBK)[:, :, None]).flatten(2)
        image = torch.unflatten(crossed, 2, (m, k, k)) * self.e_LAK[:, :, None, :, None] * self.e_LAK[:, :, None, None]
        image.diagonal(dim1=3, dim2=4).add_(torch.unflatten(straight, 2, (m, k)) * self.e_LAK[:, :, None])
        image_LAKC = image.transpose(2, 3).flatten(3)
        own_LMKK = torch.unflatten(pool(self.block_LBKK.flatten(2), cells.of_LB, m), 2, (k, k))
        eliminated = image_LAKC.flatten(1, 2).mT @ (self.inverse_LAKK @ image_LAKC).flatten(1, 2)
        coarse = _block_diagonal(own_LMKK) - eliminated
        size_L1 = coarse.diagonal(dim1=1, dim2=2).abs().mean(1, keepdim=True)
        # f_y + c_y, g_y - c_y changes nothing: pin the sum over cells; the rest of the ridge is against rounding.
        pin = torch.eye(k, dtype=coarse.dtype, device=coarse.device).repeat(m, 1)
        coarse.diagonal(dim1=1, dim2=2).add_(size_L1 * (1e-9 + cells.empty_LM.repeat_interleave(k, 1)))
        return coarse + pin @ pin.mT * (size_L1[..., None] / m)

    def _conjugate_gradients(self, right_LBK1: Tensor, rounds: int | None) -> tuple[Tensor, Tensor]:
        """What has converged stays as it is, so that rounds too many change nothing."""
        x, residual = torch.zeros_like(right_LBK1), right_LBK1
        z = self._precondition(residual)
        direction, now = z, _dot(residual, z)
        goal, taken = _RELATIVE**2 * now, torch.zeros_like(now)
        for _ in range(MOST_ROUNDS if rounds is None else rounds):
            image = self.block_LBKK @ direction - self._to_second(self.inverse_LAKK @ self._to_first(direction))
            is_open = (now > goal).to(now)
            size = is_open * now / _dot(direction, image).clamp(min=1e-300)
            x, residual, taken = x + size * direction, residual - size * image, taken + is_open
            z = self._precondition(residual)
            following = _dot(residual, z)
            if rounds is None and bool((following <= goal).all()):
                break
            direction, now = z + (following / now.clamp(min=1e-300)) * direction, following
        return x, taken.flatten()

    def _precondition(self, r_LBK1: Tensor) -> Tensor:
        k = r_LBK1.shape[2]
        restricted_LC1 = (self.basis_LBM.mT @ r_LBK1[..., 0]).flatten(1)[..., None]
        smooth_LMK = torch.unflatten((self.coarse_LCC @ restricted_LC1)[..., 0], 1, (-1, k))
        return self.inverse_LBKK @ r_LBK1 + (self.basis_LBM @ smooth_LMK)[..., None]


def inverse(matrices: Tensor) -> Tensor:
    """The inverse, without a synchronisation to see whether there is one."""
    return torch.linalg.inv_ex(matrices)[0]


def _dot(x_LBK1: Tensor, y_LBK1: Tensor) -> Tensor:
    return (x_LBK1 * y_LBK1).sum((1, 2, 3), keepdim=True)


def _products(x_LNK: Tensor, y_LNK: Tensor) -> Tensor:
    """All products of two answers' numbers, point by point, ``[L, N, K * K]``."""
    return (x_LNK[..., None] * y_LNK[:, :, None]).flatten(2)


def _block_diagonal(blocks_LMKK: Tensor) -> Tensor:
    n, m, k, _ = blocks_LMKK.shape
    out = torch.zeros(n, m, k, m, k, dtype=blocks_LMKK.dtype, device=blocks_LMKK.device)
    out.diagonal(dim1=1, dim2=3).copy_(blocks_LMKK.permute(0, 2, 3, 1))
    return out.view(n, m * k, m * k)


def _blocks(mass_LNK: Tensor, e_LNK: Tensor, v_LNM: Tensor, g_LMK: Tensor) -> Tensor:
    """The Hessian's K x K blocks of one source; unit where there is no mass."""
    k = e_LNK.shape[2]
    blocks = torch.unflatten(_products(e_LNK, e_LNK) * (v_LNM @ _products(g_LMK, g_LMK)), 2, (k, k))
    blocks.diagonal(dim1=2, dim2=3).add_(torch.where(mass_LNK > 0, mass_LNK, torch.ones_like(mass_LNK)))
    blocks.diagonal(dim1=2, dim2=3).mul_(1 + 1e-12)
    return blocks


def _across(w_LNM: Tensor, v_LNM: Tensor, e_LNK: Tensor, g_LMK: Tensor, x_LMK1: Tensor) -> Tensor:
    """The Hessian's off-diagonal part, from potentials of one source to the other's."""
    k = g_LMK.shape[2]
    gx_LMK = g_LMK * x_LMK1[..., 0]
    crossed_LNKK = torch.unflatten(v_LNM @ _products(g_LMK, gx_LMK), 2, (k, k))
    straight_LNK = w_LNM @ gx_LMK
    return e_LNK[..., None] * (straight_LNK[..., None] + crossed_LNKK @ e_LNK[..., None])
