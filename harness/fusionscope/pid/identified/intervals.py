"""Identified intervals of the decomposition of natural pairs: a few questions of every image.

Shapes: L layers, N rows (pairs), K answers.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from fusionscope.pid.identified.basis import NODES, THRESHOLD_STRIDE
from fusionscope.pid.identified.bounds import Source
from fusionscope.pid.identified.ends import Sample, identified_ends
from fusionscope.pid.identified.estimate import ENDS, Clusters
from fusionscope.pid.identified.exact import exact_ends
from fusionscope.pid.identified.moments import COMPLETE, repeats
from fusionscope.pid.identified.predictors import cross_entropy, predictions, with_other_draws
from fusionscope.pid.identified.result import QUANTITIES, IdentifiedPID, Law
from fusionscope.pid.identified.rows import Pairs, check_pairs
from fusionscope.pid.information import NATS_TO_BITS
from fusionscope.pid.uncertainty.intervals import student
from fusionscope.pid.validate import check_fraction, check_simplex

FOLDS = 5
MAX_WIDTH_BITS = 0.05
_FEW_IMAGES = 20
_AT_ONCE = 2**23  # numbers in a tensor of rows at all thresholds
_ROUNDING_BITS = 1e-9


def identified_pid(
    joint: Tensor,
    images: Tensor,
    questions: Tensor,
    *,
    law: Law = "population",
    features_vision: Tensor | None = None,
    features_language: Tensor | None = None,
    weights: Tensor | None = None,
    strata: Tensor | None = None,
    questions_available: Tensor | None = None,
    images_available: Tensor | None = None,
    images_total: int | None = None,
    questions_enumerated: bool = False,
    level: float = 0.95,
    max_width: float = MAX_WIDTH_BITS,
    seed: int = 0,
) -> IdentifiedPID:
    """Intervals that hold the atoms of natural pairs, whatever part of them is not identified.

    From model posteriors p(y | image, question) on the pairs of a benchmark the unimodal posteriors
    p(y | image) = E[p(y | image, question) | image] are known only through a few draws: products of different draws
    give moments of their distribution, and polynomials that majorise or minorise what is asked for give bounds (see the
    modules of this package).

    Args:
        joint: p(y | image, question) of the pairs, [..., N, K], any floating dtype. Leading dimensions are layers.
        images: Identity of each pair's image, integers [N].
        questions: Identity of each pair's question, integers [N]; a question asked of several images is one question.
        law: ``"population"``: the pairs' images are a sample of images, and an image's questions a sample of those that
            could be asked of it. ``"benchmark"``: an image's own list of questions is the law, all of it was run, and
            the images are a sample of the benchmark's ``images_total``.
        features_vision: Features of each pair's image, [N, D], which predict its posterior where it has few questions.
        features_language: Features of each pair's question, [N, D].
        weights: Weights of the pairs [N], equal within an image, summing to 1; uniform by default.
        strata: Stratum of each pair among its image's, integers [N] ("3 yes and 3 no an image"): pairs of one image and
            one stratum are exchangeable draws, and the stratum's part in the law is its part among the image's pairs.
        questions_available: How many questions each pair's image has (in the pair's stratum), of which those given are
            drawn without replacement, [N]; by default there is no end of them. Population law only.
        images_available: How many images of the benchmark ask each pair's question, [N]. Benchmark law only, where it
            is needed unless all images are given.
        images_total: How many images the benchmark has. Benchmark law only, where it is needed.
        questions_enumerated: Whether the questions in use are a finite list (objects of POPE) rather than a sample of
            questions: then only the sampling of images is an error. Population law only; a benchmark's are.
        level: Coverage of each interval.
        max_width: Where an interval is wider, bits, no estimate is given.
        seed: Of the folds that images are dealt into; together with the posteriors it fixes them, in any order of rows.

    Returns:
        Intervals in bits, with the identified part alone beside them. All quantities lie between 0 and log2 K, and so
        do the ends: what sampling noise puts outside is moved there.

    Raises:
        InputError: NaN, negative or not normalised posteriors; identities or features of another shape; features that
            differ within an image or a question; a pair that is given twice; weights that differ within an image; fewer
            than two images, or a single question that is to be a sample; an unknown law, or numbers that it needs or
            that belong to the other one.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> yes = torch.rand(60, 4, generator=g, dtype=torch.float64)
        >>> joint = torch.stack([1 - yes, yes], -1).flatten(0, 1)
        >>> images = torch.arange(60).repeat_interleave(4)
        >>> result = identified_pid(joint, images, torch.arange(4).repeat(60), questions_enumerated=True)
        >>> bool(result.lower["synergy"] < result.upper["synergy"])
        True
    """
    p = check_simplex("joint", joint.detach(), n_event_dims=1, min_ndim=2)
    pairs = check_pairs(
        p.shape[-2],
        images,
        questions,
        law=law,
        features_vision=features_vision,
        features_language=features_language,
        weights=weights,
        strata=strata,
        questions_available=questions_available,
        images_available=images_available,
        images_total=images_total,
        questions_enumerated=questions_enumerated,
        like=p,
    )
    check_fraction("level", level)
    check_fraction("max_width", max_width, most=math.inf, zero=True, top=True)
    p_LNK = p.reshape(-1, *p.shape[-2:])
    with torch.no_grad():
        clusters = _clusters(p_LNK, pairs, seed)
        parts = [
            _of_layers(p_LNK[i : i + step], pairs, clusters, level)
            for step in (max(1, _AT_ONCE // (pairs.n * NODES // THRESHOLD_STRIDE)),)
            for i in range(0, len(p_LNK), step)
        ]
    ends = {
        name: {key: torch.cat([part[name][key] for part in parts]) for key in parts[0][name]} for name in QUANTITIES
    }
    shape = p.shape[:-2]
    return _result(
        {name: {key: x.reshape(shape) for key, x in both.items()} for name, both in ends.items()},
        pairs,
        level,
        max_width,
        math.log2(p.shape[-1]),
    )


def _clusters(p_LNK: Tensor, pairs: Pairs, seed: int) -> Clusters:
    """Clusters, and folds of images that do not depend on their order: images are sorted by what they say."""
    n_images = pairs.n_images
    key_N = torch.einsum("lnk,k->n", p_LNK, torch.arange(1.0, p_LNK.shape[-1] + 1, dtype=p_LNK.dtype).to(p_LNK.device))
    key_I = torch.zeros(n_images, dtype=p_LNK.dtype, device=p_LNK.device).index_add(0, pairs.image_N, key_N)
    rank_I = key_I.argsort(stable=True).argsort()
    dealt_I = torch.randperm(n_images, generator=torch.Generator().manual_seed(seed)).to(p_LNK.device)
    return Clusters(
        image_N=pairs.image_N,
        question_N=None if pairs.questions_enumerated else pairs.question_N,
        weights_N=pairs.weights_N,
        fold_N=(dealt_I[rank_I] % min(FOLDS, n_images))[pairs.image_N],
        sampled_fraction=pairs.sampled_fraction,
    )


def _of_layers(p_LNK: Tensor, pairs: Pairs, clusters: Clusters, level: float) -> dict[str, dict[str, Tensor]]:
    """Ends and errors of some layers, bits: lower, upper, identified_lower, identified_upper."""
    kept = p_LNK[..., 1:] if p_LNK.shape[-1] == 2 else p_LNK
    drawn = (
        repeats(kept, pairs.image_N, pairs.weights_N, stratum_N=pairs.stratum_N, size_N=pairs.of_image_N),
        repeats(kept, pairs.question_N, pairs.weights_N, size_N=pairs.of_question_N),
    )
    if pairs.sampled_fraction == 1.0 and all(bool((s.degree_N == COMPLETE).all()) for s in drawn):
        return exact_ends(p_LNK, pairs)
    radius = critical_value(level, clusters.units)
    losses = [
        _losses(p_LNK, object_N, clusters, features, repeats_are_alike=alike)
        for object_N, features, alike in (
            (pairs.image_N, pairs.features_vision, pairs.stratum_N is None),
            (pairs.question_N, pairs.features_language, True),
        )
    ]
    posteriors = [[Source(x, k, clusters) for k in range(kept.shape[-1])] for x in drawn]
    sample = Sample(
        p_LNK=p_LNK,
        sources=(posteriors[0], posteriors[1]),
        losses=(losses[0], losses[1]),
        clusters=clusters,
        radius=radius,
    )
    ends = {}
    for name, both in identified_ends(sample).items():
        low, high = (NATS_TO_BITS * both[end].value_L for end in ENDS)
        error = {end: NATS_TO_BITS * both[end].error(clusters) for end in ENDS}
        ends[name] = {
            "lower": low - radius * error["lower"],
            "upper": high + radius * error["upper"],
            "identified_lower": low,
            "identified_upper": high,
        }
    return ends


def _losses(
    p_LNK: Tensor, object_N: Tensor, clusters: Clusters, features_ND: Tensor | None, *, repeats_are_alike: bool
) -> list[Tensor]:
    """Held-out losses of predictors of one source, nats [L, N] each."""
    base_LNK = predictions(p_LNK, object_N, clusters, features_ND)
    others = with_other_draws(p_LNK, object_N, base_LNK) if repeats_are_alike else []
    return [cross_entropy(p_LNK, q_LNK) for q_LNK in (base_LNK, *others)]


def critical_value(level: float, units: int) -> float:
    """Student's quantile of one end, to the second order in the inverse number of clusters less one."""
    z = NormalDist().inv_cdf(0.5 + 0.5 * level)
    return float(student(z, torch.tensor(units - 1.0, dtype=torch.float64)))


@dataclass(frozen=True)
class _Interval:
    """One quantity's ends, bits [...]."""

    lower: Tensor
    upper: Tensor
    identified_lower: Tensor
    identified_upper: Tensor
    crossed: Tensor
    outside: Tensor

    @classmethod
    def of(cls, both: dict[str, Tensor], most: float) -> "_Interval":
        """Ends in order, and between 0 and the most that any quantity can be.

        Where sampling noise puts the lower end above the upper one, the interval reaches from either to the other. That
        is marked as crossed, and so is an interval that noise puts outside the range, of which there is no estimate.
        """
        within = {key: x.clamp(0.0, most) for key, x in both.items()}
        low, high = within["identified_lower"], within["identified_upper"]
        middle = 0.5 * (low + high)
        return cls(
            lower=torch.minimum(within["lower"], within["upper"]),
            upper=torch.maximum(within["lower"], within["upper"]),
            identified_lower=torch.where(low <= high, low, middle),
            identified_upper=torch.where(low <= high, high, middle),
            crossed=(both["lower"] > both["upper"] + _ROUNDING_BITS)
            | (both["upper"] < -_ROUNDING_BITS)
            | (both["lower"] > most + _ROUNDING_BITS),
            outside=(both["upper"] < -_ROUNDING_BITS) | (both["lower"] > most + _ROUNDING_BITS),
        )

    def estimate(self, max_width: float) -> Tensor:
        middle = 0.5 * (self.identified_lower + self.identified_upper)
        inside = torch.minimum(torch.maximum(middle, self.lower), self.upper)
        return torch.where((self.upper - self.lower <= max_width) & ~self.outside, inside, torch.nan)


def _result(
    ends: dict[str, dict[str, Tensor]], pairs: Pairs, level: float, max_width: float, most: float
) -> IdentifiedPID:
    intervals = {name: _Interval.of(both, most) for name, both in ends.items()}
    return IdentifiedPID(
        lower={name: x.lower for name, x in intervals.items()},
        upper={name: x.upper for name, x in intervals.items()},
        identified_lower={name: x.identified_lower for name, x in intervals.items()},
        identified_upper={name: x.identified_upper for name, x in intervals.items()},
        estimate={name: x.estimate(max_width) for name, x in intervals.items()},
        level=level,
        max_width=max_width,
        law=pairs.law,
        n=pairs.n_images,
        n_questions=pairs.n_questions,
        questions_per_image=pairs.n / pairs.n_images,
        images_per_question=pairs.n / pairs.n_questions,
        reasons=_reasons(intervals, pairs),
        diagnostics={f"crossed_{name}": x.crossed.double() for name, x in intervals.items()},
    )


def _reasons(intervals: dict[str, _Interval], pairs: Pairs) -> tuple[str, ...]:
    """Sentences on what the rows leave open."""
    reasons = []
    if pairs.law == "population":
        for source, object_N, other in (
            ("image", pairs.image_N, "questions"),
            ("question", pairs.question_N, "images"),
        ):
            alone = float(pairs.weights_N[torch.bincount(object_N)[object_N] == 1].sum())
            if alone > 0:
                reasons.append(
                    f"In {alone:.0%} of the pairs the {source} occurs once: they tell the mean of p(y | {source}) "
                    f"alone, and only features, or more {other} with each {source}, tell more."
                )
    if pairs.n_images < _FEW_IMAGES:
        reasons.append(f"{pairs.n_images} images: intervals of so few were not tested.")
    crossed = [name for name, x in intervals.items() if bool(x.crossed.any())]
    if crossed:
        reasons.append(f"Ends that crossed by sampling noise: {', '.join(crossed)}; the interval spans them.")
    return tuple(reasons)
