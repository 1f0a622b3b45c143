"""The Newton system of :mod:`fusionscope.pid.points_path`, matrix-free, reduced to one source.

With ``E = exp(f)``, ``G = exp(g)`` and ``V = w / slack`` the Hessian is ``diag(E (w G))`` plus, per point, ``E E' *
(V (G G'))`` on the diagonal blocks, and ``v -> E [w (G v)]_y + E_y sum_y' E_y' [V (G_y G_y' v_y')]`` off them.
Eliminating f leaves a system in g that conjugate gradients solve in few rounds; the preconditioner is its K x K
blocks and its restriction to coarse cells, which takes care of what is smooth.

Shapes: A and B points, M coarse cells of the second source, K answers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.pid.cells import merge

MOST_ROUNDS = 60
_RELATIVE = 0.05  # of the residual: an inexact Newton step needs no more
_COARSE = 48


@dataclass(frozen=True, kw_only=True)
class Iterate:
    """Potentials of both sources, multipliers and slacks of all pairs."""

    f_AK: Tensor
    g_BK: Tensor
    w_AB: Tensor
    slack_AB: Tensor


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The coarse cells of the second source, the same at every iterate.

    Args:
        of_B: The cell of every point.
        basis_BM: The same, one-hot.
        empty_M: 1 for a cell without points.
    """

    of_B: Tensor
    basis_BM: Tensor
    empty_M: Tensor


def coarse_cells(p2_BK: Tensor) -> Cells:
    of_B = merge(p2_BK[None], _COARSE)[1][0]
    basis_BM = torch.nn.functional.one_hot(of_B, min(_COARSE, len(p2_BK))).to(p2_BK)
    return Cells(of_B=of_B, basis_BM=basis_BM, empty_M=(basis_BM.sum(0) == 0).to(p2_BK))


class PointsSystem:
    """The system at one iterate and one target of the complementarity ``w slack``."""

    def __init__(self, p1_AK: Tensor, p2_BK: Tensor, at: Iterate, target_AB: Tensor, cells: "Cells") -> None:
        self.e_AK, self.g_BK, self.w_AB = at.f_AK.exp(), at.g_BK.exp(), at.w_AB
        self.v_AB = at.w_AB / at.slack_AB
        self.off_AB = 1 - self.e_AK @ self.g_BK.mT - at.slack_AB
        aimed_AB = target_AB / at.slack_AB - self.v_AB * self.off_AB
        self.gradient_AK = p1_AK - self.e_AK * (aimed_AB @ self.g_BK)
        self.gradient_BK = p2_BK - self.g_BK * (aimed_AB.mT @ self.e_AK)
        mass_AK, mass_BK = self.e_AK * (at.w_AB @ self.g_BK), self.g_BK * (at.w_AB.mT @ self.e_AK)
        self.inverse_AKK = inverse(_blocks(mass_AK, self.e_AK, self.v_AB, self.g_BK))
        self.block_BKK = _blocks(mass_BK, self.g_BK, self.v_AB.mT, self.e_AK)
        self.inverse_BKK = inverse(self.block_BKK)
        self.basis_BM = cells.basis_BM
        self.coarse = inverse(self._restricted(cells))

    def solve(self, rounds: int | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The Newton directions of f, g and the slacks, and the rounds of conjugate gradients that they took.

        Args:
            rounds: How many to make, without asking the device whether they are needed; None to ask after each.
        """
        first_AK1 = self.inverse_AKK @ self.gradient_AK[..., None]
        right_BK1 = self.gradient_BK[..., None] - self._to_second(first_AK1)
        dg_BK1, taken = self._conjugate_gradients(right_BK1, rounds)
        df_AK = (self.inverse_AKK @ (self.gradient_AK[..., None] - self._to_first(dg_BK1)))[..., 0]
        dg_BK = dg_BK1[..., 0]
        ds_AB = (self.e_AK * df_AK) @ self.g_BK.mT + self.e_AK @ (self.g_BK * dg_BK).mT
        return df_AK, dg_BK, self.off_AB - ds_AB, taken

    def _to_first(self, x_BK1: Tensor) -> Tensor:
        return _across(self.w_AB, self.v_AB, self.e_AK, self.g_BK, x_BK1)

    def _to_second(self, x_AK1: Tensor) -> Tensor:
        return _across(self.w_AB.mT, self.v_AB.mT, self.g_BK, self.e_AK, x_AK1)

    def _restricted(self, cells: "Cells") -> Tensor:
        """The reduced system on one value per cell and answer, ``[M K, M K]``."""
        k, m = self.g_BK.shape[1], self.basis_BM.shape[1]
        products_BC = (self.g_BK[:, :, None] * self.g_BK[:, None]).flatten(1)
        straight = self.w_AB @ (self.basis_BM[:, :, None] * self.g_BK[:, None]).flatten(1)
        crossed = self.v_AB @ (self.basis_BM[:, :, None] * products_BC[:, None]).flatten(1)
        image = crossed.view(-1, m, k, k) * self.e_AK[:, None, :, None] * self.e_AK[:, None, None]
        image.diagonal(dim1=2, dim2=3).add_(straight.view(-1, m, k) * self.e_AK[:, None])
        image_RC = image.permute(0, 2, 1, 3).reshape(-1, k, m * k)
        own_MKK = torch.zeros(m, k, k, dtype=image.dtype, device=image.device).index_add_(0, cells.of_B, self.block_BKK)
        coarse = _block_diagonal(own_MKK) - image_RC.flatten(0, 1).mT @ (self.inverse_AKK @ image_RC).flatten(0, 1)
        size = coarse.diagonal().abs().mean()
        # f_y + c_y, g_y - c_y changes nothing: pin the sum over cells; the rest of the ridge is against rounding.
        pin = torch.eye(k, dtype=coarse.dtype, device=coarse.device).repeat(m, 1)
        coarse.diagonal().add_(size * (1e-9 + cells.empty_M.repeat_interleave(k)))
        return coarse + pin @ pin.mT * (size / m)

    def _conjugate_gradients(self, right_BK1: Tensor, rounds: int | None) -> tuple[Tensor, Tensor]:
        """What has converged stays as it is, so that rounds too many change nothing."""
        x, residual = torch.zeros_like(right_BK1), right_BK1
        z = self._precondition(residual)
        direction, now = z, (residual * z).sum()
        goal, taken = _RELATIVE**2 * now, torch.zeros_like(now)
        for _ in range(MOST_ROUNDS if rounds is None else rounds):
            image = self.block_BKK @ direction - self._to_second(self.inverse_AKK @ self._to_first(direction))
            is_open = (now > goal).to(now)
            size = is_open * now / (direction * image).sum().clamp(min=1e-300)
            x, residual, taken = x + size * direction, residual - size * image, taken + is_open
            z = self._precondition(residual)
            following = (residual * z).sum()
            if rounds is None and bool(following <= goal):
                break
            direction, now = z + (following / now.clamp(min=1e-300)) * direction, following
        return x, taken

    def _precondition(self, r_BK1: Tensor) -> Tensor:
        k = r_BK1.shape[1]
        smooth_MK = (self.coarse @ (self.basis_BM.mT @ r_BK1[..., 0]).flatten()).view(-1, k)
        return self.inverse_BKK @ r_BK1 + (self.basis_BM @ smooth_MK)[..., None]


def inverse(matrices: Tensor) -> Tensor:
    """The inverse, without asking the device whether there is one."""
    return torch.linalg.inv_ex(matrices)[0]


def _block_diagonal(blocks_MKK: Tensor) -> Tensor:
    m, k, _ = blocks_MKK.shape
    out = torch.zeros(m, k, m, k, dtype=blocks_MKK.dtype, device=blocks_MKK.device)
    out.diagonal(dim1=0, dim2=2).copy_(blocks_MKK.permute(1, 2, 0))
    return out.view(m * k, m * k)


def _blocks(mass_NK: Tensor, e_NK: Tensor, v_NM: Tensor, g_MK: Tensor) -> Tensor:
    """The Hessian's K x K blocks of one source; unit where there is no mass."""
    k = e_NK.shape[1]
    outer_NKK = (v_NM @ (g_MK[:, :, None] * g_MK[:, None]).flatten(1)).view(-1, k, k)
    blocks = e_NK[:, :, None] * e_NK[:, None] * outer_NKK
    blocks.diagonal(dim1=1, dim2=2).add_(torch.where(mass_NK > 0, mass_NK, torch.ones_like(mass_NK)))
    blocks.diagonal(dim1=1, dim2=2).mul_(1 + 1e-12)
    return blocks


def _across(w_NM: Tensor, v_NM: Tensor, e_NK: Tensor, g_MK: Tensor, x_MK1: Tensor) -> Tensor:
    """The Hessian's off-diagonal part, from potentials of one source to the other's."""
    k = g_MK.shape[1]
    gx_MK = g_MK * x_MK1[..., 0]
    crossed_NKK = (v_NM @ (g_MK[:, :, None] * gx_MK[:, None]).flatten(1)).view(-1, k, k)
    straight_NK = w_NM @ gx_MK
    return e_NK[..., None] * (straight_NK[..., None] + crossed_NKK @ e_NK[..., None])
