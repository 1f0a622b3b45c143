"""A small probabilistic classifier for soft targets, cross-fitted, at all layers at once.

Shapes: N samples, D features, K answers, L layers, F folds, G strengths of the penalty.
"""

import torch
from torch import Tensor

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
STEPS = 300
MAX_FEATURES = 48


def cross_fit(features_ND: Tensor, targets_LNK: Tensor, groups: Tensor, *, folds: int = 5, seed: int = 0) -> Tensor:
    """p(y | x) of every sample from a classifier that did not see the sample's group.

    Multinomial logistic regression on whitened principal components, minimising the cross entropy to the soft targets
    plus a ridge penalty whose strength is the one with the least held-out loss of each layer.

    Args:
        features_ND: float [N, D], one row per sample.
        targets_LNK: float [L, N, K], distributions to predict.
        groups: int64 [N], samples of one group stay together in a fold.
        folds: At most this many; as many as there are groups otherwise.
        seed: Of the assignment of groups to folds.

    Returns:
        float64 [L, N, K].

    Example:
        >>> x = torch.eye(2).repeat(40, 1)
        >>> y = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).repeat(40, 1)[None]
        >>> (cross_fit(x, y, torch.arange(80)) - y).abs().max().item() < 0.03
        True
    """
    fold = _assign(groups, folds, seed)
    count = int(fold.max()) + 1
    if count < 2:
        return targets_LNK.double().mean(1, keepdim=True).expand_as(targets_LNK)
    x_ND = _whiten(features_ND.double())
    held_FN = fold == torch.arange(count, device=fold.device)[:, None]
    p_FGLNK = _fit(x_ND, targets_LNK.double(), ~held_FN)
    held = held_FN[:, None, None, :, None]
    p_GLNK = torch.where(held, p_FGLNK, 0).sum(0)
    loss_GL = -(targets_LNK.double() * p_GLNK.clamp_min(1e-300).log()).sum(-1).mean(-1)
    best = loss_GL.argmin(0)
    return p_GLNK[best, torch.arange(len(best))]


def _assign(groups: Tensor, folds: int, seed: int) -> Tensor:
    """A fold for every sample: groups in random order, dealt out in turn."""
    names, member = groups.unique(return_inverse=True)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    return (order % min(folds, len(names)))[member]


def _whiten(x_ND: Tensor) -> Tensor:
    """Standardised features, their leading principal components with unit variance, and a constant."""
    centred = x_ND - x_ND.mean(0)
    scaled = centred / centred.std(0, correction=0).clamp_min(1e-12)
    u, s, _ = torch.linalg.svd(scaled, full_matrices=False)
    keep = min(int((s > 1e-6 * s[0].clamp_min(1e-12)).sum()), MAX_FEATURES, max(1, len(x_ND) // 4))
    return torch.cat([u[:, :keep] * len(x_ND) ** 0.5, torch.ones(len(x_ND), 1, dtype=x_ND.dtype)], dim=1)


def _fit(x_ND: Tensor, y_LNK: Tensor, seen_FN: Tensor) -> Tensor:
    """Predictions [F, G, L, N, K] of fits on the samples that are seen.

    Steps follow Boehning's bound (1992): the Hessian of the mean loss is at most half the features' second moment, so
    its inverse is a step size for which every step descends; Nesterov's momentum speeds it up.
    """
    count_F = seen_FN.sum(-1)
    mean_FN = seen_FN / count_F[:, None]
    moment_FDD = torch.einsum("fn,nd,ne->fde", mean_FN, x_ND, x_ND)
    ridge = torch.tensor(PENALTIES, dtype=x_ND.dtype)
    penalty_GD = ridge[:, None] * torch.cat([torch.ones(x_ND.shape[1] - 1), torch.zeros(1)]).to(x_ND)
    bound = 0.5 * moment_FDD[:, None] + torch.diag_embed(penalty_GD + 1e-9)
    step_FGDD = torch.linalg.inv(bound)[:, :, None]
    w = torch.zeros(len(seen_FN), len(ridge), len(y_LNK), x_ND.shape[1], y_LNK.shape[-1], dtype=x_ND.dtype)
    ahead = w
    for i in range(STEPS):
        error = ((x_ND @ ahead).softmax(-1) - y_LNK) * mean_FN[:, None, None, :, None]
        slope = x_ND.T @ error + penalty_GD[:, None, :, None] * ahead
        moved = ahead - step_FGDD @ slope
        ahead = moved + i / (i + 3) * (moved - w)
        w = moved
    return (x_ND @ w).softmax(-1)
