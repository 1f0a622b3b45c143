"""Lower bounds of I(X; Y) by held-out cross entropy: ``H(Y) - E[-sum_y p(y | x, other) log q(y | x)]`` for any q.

Whatever q is, the cross entropy is at least H(Y | X), so that the bound holds with the predictors' errors in it. q of a
row comes from images of other folds; among regularised least squares on linear and kernel features and boosted trees,
other folds' losses choose for each fold. Where an object repeats, its other draws are part of q: their mean, shrunk
to the features' prediction, leaving the row itself out.

Shapes: L layers, V folds, N rows, U objects, M features of a map, K answers, G strengths of the penalty.

Reference:
    Barber, Agakov (2003), The IM algorithm (the bound); Allen (1974), Golub, Heath, Wahba (1979) (leaving one out in
    closed form).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.pid.identified.boosting import boosted
from fusionscope.pid.identified.estimate import Clusters
from fusionscope.pid.identified.feature_maps import feature_maps, principal_components

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
FLOORS = (1e-4, 1e-3, 1e-2, 5e-2)
SHARPNESS = (1.0, 1.5, 2.5)
PRIORS = (0.5, 2.0, 8.0, 32.0)  # draws that a prediction counts as


@dataclass(frozen=True, kw_only=True)
class _Training:
    """Every fold's training data: means of the rows of other folds, by object."""

    weights_VU: Tensor
    target_VLUK: Tensor
    mean_VLK: Tensor


def predictions(p_LNK: Tensor, object_N: Tensor, clusters: Clusters, features_ND: Tensor | None) -> Tensor:
    """q(y | x) of every row from images of other folds [L, N, K]: the answers' mean, or the best predictor.

    Args:
        p_LNK: p(y | both), float64.
        object_N: The row's object, numbered from 0, int64.
        clusters: Of the rows, and their folds.
        features_ND: Features of the row's object, the same in all its rows, or None.
    """
    training = _training(p_LNK, object_N, clusters)
    mean_LNK = training.mean_VLK[clusters.fold_N].movedim(0, 1)
    if features_ND is None:
        return mean_LNK
    return _best_of_maps(p_LNK, object_N, clusters, features_ND, training, mean_LNK)


def with_other_draws(p_LNK: Tensor, object_N: Tensor, base_LNK: Tensor) -> list[Tensor]:
    """Predictions from the row's object's other draws, shrunk to ``base_LNK``; none where no object repeats.

    Given the object, the row must be as good as independent of its other draws. Draws without replacement lean away
    from each other, which makes the loss larger; of strata, the others would tell the row's own.
    """
    count_N1 = (torch.bincount(object_N)[object_N] - 1.0)[:, None]
    if not bool((count_N1 > 0).any()):
        return []
    sums = p_LNK.new_zeros(p_LNK.shape[0], int(object_N.max()) + 1, p_LNK.shape[2]).index_add(1, object_N, p_LNK)
    others_LNK = (sums[:, object_N] - p_LNK).clamp(min=0.0)
    return [(others_LNK + prior * base_LNK) / (count_N1 + prior) for prior in PRIORS]


def cross_entropy(p_LNK: Tensor, q_LNK: Tensor) -> Tensor:
    """``-sum_y p log q`` of every row, nats [L, N]."""
    return -torch.where(p_LNK > 0, p_LNK * q_LNK.clamp(min=1e-300).log(), 0.0).sum(-1)


def _training(p_LNK: Tensor, object_N: Tensor, clusters: Clusters) -> _Training:
    objects = int(object_N.max()) + 1
    weights, targets, means = [], [], []
    for fold in range(clusters.folds):
        w_N = clusters.weights_N * (clusters.fold_N != fold)
        w_U = w_N.new_zeros(objects).index_add(0, object_N, w_N)
        sums = p_LNK.new_zeros(p_LNK.shape[0], objects, p_LNK.shape[2]).index_add(1, object_N, w_N[:, None] * p_LNK)
        weights.append(w_U)
        targets.append(sums / torch.where(w_U > 0, w_U, 1.0)[:, None])
        means.append(sums.sum(1) / w_U.sum())
    return _Training(weights_VU=torch.stack(weights), target_VLUK=torch.stack(targets), mean_VLK=torch.stack(means))


def _best_of_maps(
    p_LNK: Tensor,
    object_N: Tensor,
    clusters: Clusters,
    features_ND: Tensor,
    training: _Training,
    base_LNK: Tensor,
) -> Tensor:
    """Every row's prediction by the predictor that the other folds' rows find best, layer by layer."""
    objects = training.weights_VU.shape[1]
    first_U = torch.full((objects,), len(object_N), dtype=torch.int64, device=object_N.device)
    first_U = first_U.scatter_reduce(0, object_N, torch.arange(len(object_N), device=object_N.device), "amin")
    features_UD, weights_U = features_ND[first_U].double(), training.weights_VU.sum(0)
    chosen_LNK, least_VL = base_LNK, _others_losses(cross_entropy(p_LNK, base_LNK), clusters)

    def consider(predicted_VLUK: Tensor) -> None:
        nonlocal chosen_LNK, least_VL
        q_LNK = predicted_VLUK[clusters.fold_N, :, object_N].movedim(0, 1)
        loss_VL = _others_losses(cross_entropy(p_LNK, q_LNK), clusters)
        better_LN = (loss_VL < least_VL)[clusters.fold_N].mT
        chosen_LNK = torch.where(better_LN[..., None], q_LNK, chosen_LNK)
        least_VL = torch.minimum(loss_VL, least_VL)

    for _, map_UM in feature_maps(features_UD, weights_U):
        consider(torch.stack([_least_squares(map_UM, training, fold) for fold in range(clusters.folds)]))
    shape = training.target_VLUK.shape
    trees = boosted(
        principal_components(features_UD, weights_U),
        training.weights_VU[:, None].expand(shape[:3]).flatten(0, 1),
        training.target_VLUK.flatten(0, 1),
    )
    consider(trees.reshape(shape))
    return chosen_LNK


def _others_losses(loss_LN: Tensor, clusters: Clusters) -> Tensor:
    """The mean loss of all other folds' rows, for every fold, [V, L]."""
    others_VN = clusters.weights_N * (clusters.fold_N != torch.arange(clusters.folds).to(loss_LN.device)[:, None])
    return (others_VN / others_VN.sum(-1, keepdim=True)) @ loss_LN.mT


def _least_squares(map_UM: Tensor, training: _Training, fold: int) -> Tensor:
    """Predictions [L, U, K] of ridge regression on the targets' probabilities, all layers in one decomposition.

    The penalty of each layer has the least squared error when one object is left out; then a floor and a sharpness have
    the least cross entropy of predictions that leave one out.
    """
    w_U, target_LUK = training.weights_VU[fold], training.target_VLUK[fold]
    problems, _, answers = target_LUK.shape
    fraction_U = w_U / w_U.sum()
    mean_LK = training.mean_VLK[fold]
    centred_UM = map_UM - fraction_U @ map_UM
    y_UT = (target_LUK - mean_LK[:, None]).movedim(1, 0).flatten(1)
    squares_M, axes = torch.linalg.eigh(centred_UM.mT @ (fraction_U[:, None] * centred_UM))
    rotated_UM = centred_UM @ axes
    along_MT = rotated_UM.mT @ (fraction_U[:, None] * y_UT)
    best = torch.stack([y_UT, y_UT])
    least_L = torch.full_like(mean_LK[:, 0], torch.inf)
    for penalty in PENALTIES:
        shrunk_M = 1 / (squares_M.clamp(min=0.0) + penalty * len(w_U) ** -0.5)
        fitted_UT = rotated_UM @ (shrunk_M[:, None] * along_MT)
        leverage_U1 = (fraction_U * (rotated_UM**2 @ shrunk_M))[:, None]
        left_out_UT = y_UT - (y_UT - fitted_UT) / (1 - leverage_U1 - fraction_U[:, None]).clamp(min=1e-6)
        error_L = (fraction_U @ (y_UT - left_out_UT) ** 2).reshape(problems, answers).sum(-1)
        better_T = (error_L < least_L).repeat_interleave(answers)
        best = torch.where(better_T, torch.stack([fitted_UT, left_out_UT]), best)
        least_L = torch.minimum(error_L, least_L)
    both = best.reshape(2, -1, problems, answers).movedim(2, 1) + mean_LK[:, None]
    return _calibrated(both[0], both[1], target_LUK, fraction_U)


def _calibrated(fitted_LUK: Tensor, left_out_LUK: Tensor, target_LUK: Tensor, fraction_U: Tensor) -> Tensor:
    """Distributions from fitted values: floored, sharpened, normalised."""
    best_LUK, least_L = fitted_LUK, torch.full_like(fitted_LUK[:, 0, 0], torch.inf)
    for floor in FLOORS:
        for power in SHARPNESS:
            trial, q_LUK = (_distribution(x, floor, power) for x in (left_out_LUK, fitted_LUK))
            loss_L = cross_entropy(target_LUK, trial) @ fraction_U
            best_LUK = torch.where((loss_L < least_L)[:, None, None], q_LUK, best_LUK)
            least_L = torch.minimum(loss_L, least_L)
    return best_LUK


def _distribution(x_LUK: Tensor, floor: float, power: float) -> Tensor:
    raised = x_LUK.clamp(min=floor) ** power
    return raised / raised.sum(-1, keepdim=True)
