"""Both ends of every information and atom, as estimates with influences, from what the rows identify.

Every quantity has several valid bounds (moments, predictors, the integral of potentials, and what the others imply);
the sharpest is chosen across folds.

Shapes: L problems, N rows, K answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.pid.identified.bounds import Source, bound
from fusionscope.pid.identified.estimate import ENDS, Clusters, Estimate, best, mean_of
from fusionscope.pid.identified.functions import NegativeEntropy, NegativeTerm
from fusionscope.pid.identified.two_answers import binary_union
from fusionscope.pid.information import xlogx

Ends = dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Rows of natural pairs and what they say of either source.

    Args:
        p_LNK: p(y | image, question), float64.
        sources: Vision's and language's posteriors: of the second of two answers, or of each of more.
        losses: By source, held-out losses of predictors of every row, ``[L, N]`` nats each.
        clusters: Of the rows.
        radius: Standard errors that ends will be reported with.
    """

    p_LNK: Tensor
    sources: tuple[Sequence[Source], Sequence[Source]]
    losses: tuple[Sequence[Tensor], Sequence[Tensor]]
    clusters: Clusters
    radius: float

    @property
    def is_binary(self) -> bool:
        return self.p_LNK.shape[-1] == 2


def identified_ends(sample: Sample) -> dict[str, Ends]:
    """Both ends of the informations, the union information and the atoms, nats."""
    entropy, slope_LK = answer_entropy(sample.p_LNK, sample.clusters)
    given_both = mean_of(-xlogx(sample.p_LNK).sum(-1), sample.clusters.weights_N)
    total = entropy - given_both
    first, second = (_information(sample, i, entropy, slope_LK, total) for i in (0, 1))
    ends = {"total": dict.fromkeys(ENDS, total), "information_vision": first, "information_language": second}
    return ends | _atoms(sample, total, first, second)


def answer_entropy(p_LNK: Tensor, clusters: Clusters) -> tuple[Estimate, Tensor]:
    """H(Y), without its bias of second order, and its derivative in each answer's probability [L, K], nats.

    The term of second order, half the curvature times the squared error of p(y), has the mean that is taken out and, of
    one normal error, a standard deviation that is the square root of 2 times that.
    """
    mean_LK = torch.einsum("lnk,n->lk", p_LNK, clusters.weights_N)
    away_LNK = clusters.weights_N[:, None] * (p_LNK - mean_LK[:, None])
    variance_LK = torch.stack([clusters.variance(x) for x in away_LNK.unbind(-1)], -1)
    seen_LK = mean_LK > 0
    bias_L = -torch.where(seen_LK, variance_LK / torch.where(seen_LK, mean_LK, 1.0), 0.0).sum(-1) / 2
    slope_LK = torch.where(seen_LK, -torch.where(seen_LK, mean_LK, 1.0).log(), 0.0)
    influence_LN = (away_LNK * slope_LK[:, None]).sum(-1)
    return Estimate(-xlogx(mean_LK).sum(-1) - bias_L, influence_LN, -(2**0.5) * bias_L), slope_LK


def _information(sample: Sample, source: int, entropy: Estimate, slope_LK: Tensor, total: Estimate) -> Ends:
    clusters = sample.clusters
    by_moments = {end: entropy + _negative_entropy(sample, source, slope_LK, end) for end in ENDS}
    by_predictors = [entropy - mean_of(loss, clusters.weights_N) for loss in sample.losses[source]]
    return {
        "lower": best([by_moments["lower"], *by_predictors], clusters, sample.radius, "lower"),
        "upper": best([by_moments["upper"], total], clusters, sample.radius, "upper"),
    }


def _negative_entropy(sample: Sample, source: int, slope_LK: Tensor, end: str) -> Estimate:
    """A bound of minus the mean entropy of a source's posteriors."""
    posteriors, clusters = sample.sources[source], sample.clusters
    if sample.is_binary:
        slope_L = slope_LK[:, 1] - slope_LK[:, 0]
        rows = bound(NegativeEntropy(), posteriors[0], sample.radius, end, shift_L=slope_L)
        return mean_of(rows[:, 0], clusters.weights_N)
    terms = [
        bound(NegativeTerm(), posterior, sample.radius, end, shift_L=slope_LK[:, k])[:, 0]
        for k, posterior in enumerate(posteriors)
    ]
    return mean_of(torch.stack(terms).sum(0), clusters.weights_N)


def _atoms(sample: Sample, total: Estimate, first: Ends, second: Ends) -> dict[str, Ends]:
    """Ends of the union information and the atoms: what the informations imply, and the integrals of two answers."""
    (lo1, up1), (lo2, up2) = ((x["lower"], x["upper"]) for x in (first, second))
    candidates: dict[str, dict[str, list[Estimate]]] = {
        "union": {"lower": [lo1, lo2], "upper": [total, up1 + up2]},
        "redundancy": {"lower": [lo1 + lo2 - total], "upper": [up1, up2]},
        "unique_vision": {"lower": [lo1 - up2], "upper": [up1, total - lo2]},
        "unique_language": {"lower": [lo2 - up1], "upper": [up2, total - lo1]},
    }
    if sample.is_binary:
        binary = binary_union(
            sample.p_LNK[..., 1], (sample.sources[0][0], sample.sources[1][0]), sample.clusters, sample.radius
        )
        parts: Mapping[str, Ends] = {
            "union": binary.union,
            "redundancy": binary.redundancy,
            "unique_vision": binary.unique[0],
            "unique_language": binary.unique[1],
        }
        for name, both in parts.items():
            for end in ENDS:
                candidates[name][end].append(both[end])
        candidates["unique_vision"]["upper"].append(binary.union["upper"] - lo2)
        candidates["unique_language"]["upper"].append(binary.union["upper"] - lo1)
        candidates["redundancy"]["lower"].append(lo1 + lo2 - binary.union["upper"])
    candidates["synergy"] = {
        "lower": [total - x for x in candidates["union"]["upper"]],
        "upper": [total - x for x in candidates["union"]["lower"]],
    }
    return {
        name: {end: best(some, sample.clusters, sample.radius, end) for end, some in both.items()}
        for name, both in candidates.items()
    }
