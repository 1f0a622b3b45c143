"""A small probabilistic classifier for soft targets, cross-fitted, at all layers at once.

Shapes: N samples, U distinct inputs, D features, K answers, L layers, F folds, G strengths of the penalty.
"""

import torch
from torch import Tensor

from fusionscope.errors import InputError

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
STEPS, PATIENCE, TOLERANCE = 300, 20, 1e-5
MAX_FEATURES = 48


def cross_fit(
    features_UD: Tensor, index: Tensor, targets_LNK: Tensor, groups: Tensor, *, folds: int = 5, seed: int = 0
) -> Tensor:
    """p(y | x) of every sample from a classifier that did not see the sample's group, on the arguments' device.

    Multinomial logistic regression on whitened principal components, minimising the cross entropy to the soft targets
    plus a ridge penalty whose strength is the one with the least held-out loss of each layer.

    Args:
        features_UD: float [U, D], one row per distinct input x.
        index: int64 [N], the input of each sample.
        targets_LNK: float [L, N, K], distributions to predict.
        groups: int64 [N], samples of one group stay together in a fold.
        folds: At most this many; as many as there are groups otherwise.
        seed: Of the assignment of groups to folds.

    Returns:
        float64 [L, N, K].

    Raises:
        InputError: One group or one fold.

    Example:
        >>> y = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).repeat(40, 1)[None]
        >>> found = cross_fit(torch.eye(2), torch.arange(80) % 2, y, torch.arange(80))
        >>> (found - y).abs().max().item() < 0.03
        True
    """
    y_LNK = targets_LNK.double()
    fold = _assign(groups, folds, seed)
    count = int(fold.max()) + 1
    if count < 2:
        raise InputError(
            f"{len(y_LNK[0])} pairs of one image, in {folds} folds",
            "a classifier must not see what it predicts, so that pairs of at least two images and two folds are needed",
            "use more images, or design='crossed'",
        )
    seen_FN = fold != torch.arange(count, device=fold.device)[:, None]
    mean_FN = seen_FN.double() / seen_FN.sum(-1, keepdim=True)
    # Only sums over samples of one input enter the loss, so that repeated questions cost nothing.
    weight_FU = mean_FN.new_zeros(count, len(features_UD)).index_add_(1, index, mean_FN)
    shares_FLNK = mean_FN[:, None, :, None] * y_LNK
    target_FLUK = y_LNK.new_zeros(count, len(y_LNK), len(features_UD), y_LNK.shape[-1])
    target_FLUK.index_add_(2, index, shares_FLNK)
    p_FGLUK = _fit(_whiten(features_UD.double(), index), weight_FU, target_FLUK)
    p_GLNK = p_FGLUK[fold, :, :, index].movedim(0, 2)
    loss_GL = -(y_LNK * p_GLNK.clamp_min(1e-300).log()).sum(-1).mean(-1)
    return p_GLNK[loss_GL.argmin(0), torch.arange(len(y_LNK), device=y_LNK.device)]


def _assign(groups: Tensor, folds: int, seed: int) -> Tensor:
    """A fold for every sample: groups in random order, dealt out in turn."""
    names, member = torch.unique(groups, return_inverse=True)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).to(groups.device)
    return (order % min(folds, len(names)))[member]


def _whiten(x_UD: Tensor, index: Tensor) -> Tensor:
    """Leading principal components of the standardised samples, of unit variance, and a constant: [U, D' + 1].

    From the second moments over the shorter of both sides: there are thousands of features, of a few hundred inputs.
    """
    count_U1 = torch.bincount(index, minlength=len(x_UD)).to(x_UD)[:, None]
    mean = (count_U1 * x_UD).sum(0) / len(index)
    std = ((count_U1 * (x_UD - mean) ** 2).sum(0) / len(index)).sqrt().clamp_min(1e-12)
    z_UD = (x_UD - mean) / std
    weighted_UD = count_U1.sqrt() * z_UD
    if len(x_UD) <= x_UD.shape[1]:
        squares, vectors_US = torch.linalg.eigh(weighted_UD @ weighted_UD.mT)
        axes_DS = weighted_UD.mT @ vectors_US
    else:
        squares, axes_DS = torch.linalg.eigh(weighted_UD.mT @ weighted_UD)
    s = squares.clamp_min(0.0).sqrt().flip(0)
    keep = min(int((s > 1e-6 * s[0].clamp_min(1e-12)).sum()), MAX_FEATURES, max(1, len(index) // 4))
    axes_DS = axes_DS.flip(1)[:, :keep]
    axes_DS = axes_DS / axes_DS.norm(dim=0).clamp_min(1e-300)
    parts = z_UD @ axes_DS / s[:keep].clamp_min(1e-12) * len(index) ** 0.5
    return torch.cat([parts, torch.ones_like(parts[:, :1])], dim=1)


def _fit(x_UD: Tensor, weight_FU: Tensor, target_FLUK: Tensor) -> Tensor:
    """Predictions [F, G, L, U, K] of fits to weighted inputs and their summed targets.

    Steps follow Boehning's bound (1992): the Hessian of the mean loss is at most half the features' second moment, so
    its inverse is a step size for which every step descends; Nesterov's momentum speeds it up.
    """
    moment_FDD = torch.einsum("fu,ud,ue->fde", weight_FU, x_UD, x_UD)
    ridge, penalised_D = x_UD.new_tensor(PENALTIES), torch.ones_like(x_UD[0])
    penalised_D[-1] = 0.0
    penalty_GD = ridge[:, None] * penalised_D
    step_FGDD = torch.linalg.inv(0.5 * moment_FDD[:, None] + torch.diag_embed(penalty_GD + 1e-9))[:, :, None]
    shape = (len(weight_FU), len(ridge), target_FLUK.shape[1], x_UD.shape[1], target_FLUK.shape[-1])
    w = ahead = x_UD.new_zeros(shape)
    for i in range(STEPS):
        excess = (x_UD @ ahead).softmax(-1) * weight_FU[:, None, None, :, None] - target_FLUK[:, None]
        moved = ahead - step_FGDD @ (x_UD.T @ excess + penalty_GD[:, None, :, None] * ahead)
        change = (moved - w).abs().max()
        ahead = moved + i / (i + 3) * (moved - w)
        w = moved
        if i % PATIENCE == 0 and change < TOLERANCE:
            break
    return (x_UD @ w).softmax(-1)
