"""Merging posteriors into cells: Kullback-Leibler k-means, batched.

A function of a source cannot raise the union information, so that of the cells is a lower bound; the information that
merging loses about the answer bounds how far.

Shapes: L problems, N points, M cells, K answers.

Reference:
    Banerjee, Merugu, Dhillon, Ghosh (2005), Clustering with Bregman divergences.
"""

import torch
from torch import Tensor

_ROUNDS = 12


def merge(p_LNK: Tensor, n_cells: int) -> tuple[Tensor, Tensor]:
    """Merges points into at most ``n_cells`` cells each.

    Args:
        p_LNK: Joint masses of a source and the answer.
        n_cells: M.

    Returns:
        The cells' joint masses ``[L, M, K]`` (a cell may be empty) and the cell of every point, int64 ``[L, N]``.
    """
    n = p_LNK.shape[1]
    if n <= n_cells:
        cell_LN = torch.arange(n, device=p_LNK.device).expand(len(p_LNK), n)
        return p_LNK, cell_LN
    posterior_LNK = p_LNK / p_LNK.sum(-1, keepdim=True).clamp(min=1e-300)
    centre_LMK = _spread(posterior_LNK, p_LNK.sum(-1), n_cells)
    for _ in range(_ROUNDS):
        cell_LN = (posterior_LNK @ centre_LMK.clamp(min=1e-12).log().mT).argmax(-1)
        mass_LMK = pool(p_LNK, cell_LN, n_cells)
        total_LM1 = mass_LMK.sum(-1, keepdim=True)
        centre_LMK = torch.where(total_LM1 > 0, mass_LMK / total_LM1.clamp(min=1e-300), centre_LMK)
    return mass_LMK, cell_LN


def pool(p_LNK: Tensor, cell_LN: Tensor, n_cells: int) -> Tensor:
    """Sums of the masses of the points of each cell, ``[L, M, K]``."""
    out = torch.zeros(len(p_LNK), n_cells, p_LNK.shape[-1], dtype=p_LNK.dtype, device=p_LNK.device)
    return out.scatter_add_(1, cell_LN[..., None].expand_as(p_LNK), p_LNK)


def _spread(posterior_LNK: Tensor, mass_LN: Tensor, n_cells: int) -> Tensor:
    """Starting centres: each the point that the centres so far describe worst, weighted by its mass."""
    first = mass_LN.argmax(1)[:, None, None].expand(-1, 1, posterior_LNK.shape[-1])
    centres = [posterior_LNK.gather(1, first)]
    own_LN = torch.xlogy(posterior_LNK, posterior_LNK).sum(-1)
    worst_LN = torch.full_like(mass_LN, torch.inf)
    for _ in range(n_cells - 1):
        fit_LN = (posterior_LNK @ centres[-1].clamp(min=1e-12).log().mT)[..., 0]
        worst_LN = torch.minimum(worst_LN, own_LN - fit_LN)
        pick = (worst_LN * mass_LN).argmax(1)[:, None, None].expand(-1, 1, posterior_LNK.shape[-1])
        centres.append(posterior_LNK.gather(1, pick))
    return torch.cat(centres, 1)
