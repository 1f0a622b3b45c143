"""Bounds of the mean of convex functions of a unimodal posterior, from few draws of every object.

For every fold of images a polynomial is chosen by the other folds, and evaluated on the fold: whatever was chosen, the
mean of its row-wise values is a bound in expectation, with the sampling error of a mean. (An ellipsoid of the
chi-square's radius around the moments holds as well, but pays for every direction at once.)

An object with one draw identifies the mean alone. Its convex functions are still at least those of the mean, and at
most those of the draw itself (Jensen); the mean of several draws competes with the polynomials in the same way.

Shapes: L problems, V folds, F functions, N rows, O objects, D = degree + 1, G nodes.

Reference:
    Chernozhukov et al. (2018), Double/debiased machine learning (cross-fitting, orthogonal scores); Ji, Lei, Spector
    (2024), Model-agnostic covariate-assisted inference on partially identified causal effects (dual bounds).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.pid.identified.estimate import Clusters
from fusionscope.pid.identified.functions import ConvexFunctions, node_values
from fusionscope.pid.identified.moments import COMPLETE, LADDER, Repeats
from fusionscope.pid.identified.programmes import BoundWithError, majorants, nearest_moments

_CLUSTERS_A_MOMENT = 3  # images that the moments of one degree are estimated from, at least, for each of them
_UNSEEN = 4.0  # images of uniform m, added to the covariance: those that decide high moments may be too rare to be seen


@dataclass(frozen=True, kw_only=True)
class _Degree:
    """Rows whose objects identify moments to one degree, and what every fold's other folds say of those moments.

    The covariance too is the others' alone: where a few images decide the high moments, what a fold says of the
    covariance is what it says of the moments.
    """

    here_N: Tensor
    moments_VLD: Tensor
    covariance_VLDD: Tensor


class Source:
    """One source's posterior of one answer, ready to be bounded.

    Args:
        repeats: What the rows say of the source.
        answer: Index of the answer whose posterior m is.
        clusters: Of the rows.
    """

    def __init__(self, repeats: Repeats, answer: int, clusters: Clusters) -> None:
        self.repeats, self.clusters = repeats, clusters
        self.z_LND = repeats.moments_LNKD[:, :, answer]
        self.mean_LO = repeats.mean_LOK[..., answer]
        self.complete_N = repeats.degree_N == COMPLETE
        degree_N = self._supported()
        degrees = sorted(set(degree_N.tolist()) - {COMPLETE})
        self.degrees = [self._of(degree, degree_N) for degree in degrees]

    def _supported(self) -> Tensor:
        """Degrees of the rows, lowered where few images tell of that many moments; what is complete is left alone."""
        degree_N = self.repeats.degree_N
        for higher, lower in itertools.pairwise(reversed(LADDER)):
            pool_N = (degree_N >= higher) | self.complete_N
            if bool(pool_N.any()) and self._images(pool_N) < _CLUSTERS_A_MOMENT * (higher + 1):
                degree_N = torch.where(degree_N == higher, lower, degree_N)
        return degree_N

    def _images(self, rows_N: Tensor) -> int:
        return len(torch.unique(self.clusters.image_N[rows_N]))

    def _of(self, degree: int, degree_N: Tensor) -> _Degree:
        z_LND = self.z_LND[..., : degree + 1]
        pool_N = (degree_N >= degree) | self.complete_N
        weights_N = self.clusters.weights_N * pool_N
        others = [self._of_others(z_LND, weights_N, fold) for fold in range(self.clusters.folds)]
        moments_VLD, covariance_VLDD = (torch.stack(x) for x in zip(*others, strict=True))
        nearest = nearest_moments(moments_VLD.flatten(0, 1), covariance_VLDD.flatten(0, 1))
        return _Degree(
            here_N=degree_N == degree,
            moments_VLD=nearest.reshape(moments_VLD.shape),
            covariance_VLDD=covariance_VLDD,
        )

    def _of_others(self, z_LND: Tensor, weights_N: Tensor, fold: int) -> tuple[Tensor, Tensor]:
        """The moments' mean over the other folds' rows, and its covariance as of all rows."""
        others_N = weights_N * (self.clusters.fold_N != fold)
        others_N = others_N if bool(others_N.any()) else weights_N
        part = others_N.sum() / weights_N.sum()
        others_N = others_N / others_N.sum()
        mean_LD = torch.einsum("lnd,n->ld", z_LND, others_N)
        covariance_LDD = part * self.clusters.covariance(others_N[:, None] * (z_LND - mean_LD[:, None]))
        uniform_D = 1 / (2 * torch.arange(z_LND.shape[-1]).to(z_LND) + 1)  # E P_k^2
        unseen_DD = torch.diag(uniform_D) * (_UNSEEN / self._images(others_N > 0) ** 2)
        covariance_LDD = covariance_LDD + unseen_DD
        covariance_LDD[:, 0] = 0.0  # P_0 is 1
        covariance_LDD[:, :, 0] = 0.0
        return mean_LD, covariance_LDD


def bound(
    functions: ConvexFunctions | Sequence[ConvexFunctions],
    source: Source,
    radius: float,
    end: str,
    *,
    shift_L: Tensor | None = None,
) -> Tensor:
    """Values of the rows [L, F, N] whose weighted mean bounds ``E f(m)``, in expectation.

    Args:
        functions: Convex f, the same for all rows or, a sequence, those of the rows of each fold.
        source: Whose posterior m is.
        radius: Standard errors that the bound will be reported with.
        end: ``"lower"`` or ``"upper"``.
        shift_L: Slope of what the bound will be added to, per unit of the row's posterior: its error counts with it.
    """
    folds = source.clusters.folds
    by_fold = [functions] * folds if isinstance(functions, ConvexFunctions) else list(functions)
    plug_in_LFN = _plug_in(by_fold, source)
    rows_LFN = plug_in_LFN
    for degree in source.degrees:
        polynomial_LFN = _polynomials(by_fold, source, degree, radius, end, shift_L)
        if end == "upper":
            polynomial_LFN = _lower_by_the_others(polynomial_LFN, plug_in_LFN, degree.here_N, source.clusters)
        rows_LFN = torch.where(degree.here_N, polynomial_LFN, rows_LFN)
    return rows_LFN


def _plug_in(by_fold: list[ConvexFunctions], source: Source) -> Tensor:
    """The functions at the draws' mean: exact where complete, else with what a row adds to it to first order."""
    object_N, fold_N = source.repeats.object_N, source.clusters.fold_N
    mean_LN = source.mean_LO[:, object_N]
    away_LN = torch.where(source.complete_N, 0.0, 0.5 * (source.z_LND[..., 1] + 1) - mean_LN)
    parts = {id(f): f.at(source.mean_LO)[..., object_N] for f in by_fold}
    slopes = {id(f): f.slope(source.mean_LO)[..., object_N] for f in by_fold}
    rows_LFN = torch.zeros_like(parts[id(by_fold[0])])
    for fold, f in enumerate(by_fold):
        rows_LFN = torch.where(fold_N == fold, parts[id(f)] + slopes[id(f)] * away_LN[:, None], rows_LFN)
    return rows_LFN


def _polynomials(
    by_fold: list[ConvexFunctions], source: Source, of: _Degree, radius: float, end: str, shift_L: Tensor | None
) -> Tensor:
    """Values of every row under its fold's polynomial [L, F, N]; meaningless for rows of a lower degree."""
    n_folds, problems, width = of.moments_VLD.shape
    sign = 1.0 if end == "upper" else -1.0
    values = {id(f): node_values(f, problems, of.moments_VLD) for f in by_fold}
    f_VLFG = sign * torch.stack([values[id(f)] for f in by_fold])
    shift_LD = torch.zeros_like(of.moments_VLD[0])
    if shift_L is not None:
        shift_LD[:, 1] = 0.5 * sign * shift_L  # p is half of P_1 plus a half
    shape = (n_folds, problems, f_VLFG.shape[2])

    def every(x: Tensor, *trailing: int) -> Tensor:
        return x.reshape(-1, problems, 1, *trailing).expand(*shape, *trailing).reshape(-1, *trailing)

    objective = BoundWithError(
        moments_BD=every(of.moments_VLD, width),
        covariance_BDD=every(of.covariance_VLDD, width, width),
        shift_BD=every(shift_LD, width),
        radius=radius,
    )
    sag_B = None if end == "upper" else by_fold[0].sag(f_VLFG).expand(len(objective.moments_BD))
    c_VLFD = sign * majorants(objective, f_VLFG.flatten(0, 2), sag_B).reshape(*shape, width)
    z_LDN = source.z_LND[..., :width].mT
    rows_LFN = z_LDN.new_zeros(problems, shape[2], z_LDN.shape[-1])
    for fold, c_LFD in enumerate(c_VLFD):
        here = (source.clusters.fold_N == fold).nonzero()[:, 0]
        rows_LFN[:, :, here] = c_LFD @ z_LDN[:, :, here]
    return rows_LFN


def _lower_by_the_others(polynomial: Tensor, plug_in: Tensor, here_N: Tensor, clusters: Clusters) -> Tensor:
    """Jensen's bound, the function of the draws' mean, wherever the other folds' rows find it lower."""
    rows_LFN = polynomial
    for fold in range(clusters.folds):
        others_N = clusters.weights_N * (here_N & (clusters.fold_N != fold))
        lower_LF = (plug_in - polynomial) @ others_N < 0
        rows_LFN = torch.where((clusters.fold_N == fold) & lower_LF[..., None], plug_in, rows_LFN)
    return rows_LFN
