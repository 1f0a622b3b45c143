"""Resampling: bootstrap, intervals that hold at kinks, and a permutation null.

Everything here solves one batch per replicate (all layers at once) at a gap of 3e-4 bits, far below sampling error.

Shapes: R replicates, L problems, A images, B questions, N samples, K answers.

Reference:
    Politis, Romano (1994), Large sample confidence regions based on subsamples; Bickel, Gotze, van Zwet (1997),
    Resampling fewer than n observations; McCullagh (2000), Resampling and exchangeable arrays.
"""

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.pid.estimators.exact import ExactEstimator
from fusionscope.pid.estimators.sample import PairSample
from fusionscope.pid.information import NATS_TO_BITS
from fusionscope.pid.local import with_atoms
from fusionscope.pid.result import ATOMS
from fusionscope.pid.uncertainty.bias import plug_in_joint
from fusionscope.pid.uncertainty.influence import resample
from fusionscope.pid.validate import check_count, check_fraction, check_same_shape, check_simplex, check_weights


def bootstrap_crossed(
    conditionals: Tensor,
    weights: Tensor | None = None,
    *,
    n_replicates: int = 200,
    fraction: float = 1.0,
    images_enumerated: bool = False,
    questions_enumerated: bool = False,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Atoms and informations of a crossed design with images and questions drawn anew, separately.

    Args:
        conditionals: p(y | a, b), [..., A, B, K].
        weights: As in :func:`fusionscope.pid.pid_crossed`.
        n_replicates: R.
        fraction: How many are drawn of each axis, as a fraction of its size; 1 for the bootstrap.
        images_enumerated: Keep the images as they are.
        questions_enumerated: Keep the questions as they are.
        seed: Of the draws.

    Returns:
        By name, bits [R, ...], without bias correction; their spread over R estimates the standard error.
    """
    joint_LABK, shape = _joint(conditionals, weights)
    check_count("n_replicates", n_replicates)
    check_fraction("fraction", fraction, top=True)
    generator = torch.Generator().manual_seed(seed)
    sampled = (not images_enumerated, not questions_enumerated)
    drawn = (resample(joint_LABK, sampled, generator, fraction)[0] for _ in range(n_replicates))
    return _stacked([_atoms(joint) for joint in drawn], shape)


def subsampling_interval(
    conditionals: Tensor,
    weights: Tensor | None = None,
    *,
    level: float = 0.95,
    fraction: float = 0.5,
    n_replicates: int = 200,
    images_enumerated: bool = False,
    questions_enumerated: bool = False,
    seed: int = 0,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Confidence intervals of all atoms from subsamples alone.

    Fewer units are drawn than there are, so that the replicates see a kink at a larger scale than the sample does; the
    interval is symmetric around the plug-in. On a softened AND it covers .84 to .98, depending on the atom;
    :func:`fusionscope.pid.confidence_intervals`, at less cost, covers .94 to .98 there (tools/check_pid.py).

    Args:
        conditionals: p(y | a, b), [..., A, B, K].
        weights: As in :func:`fusionscope.pid.pid_crossed`.
        level: Coverage that is aimed at.
        fraction: Units drawn per axis as a fraction of its size.
        n_replicates: R.
        images_enumerated: The images are not a sample.
        questions_enumerated: The questions are not a sample.
        seed: Of the draws.

    Returns:
        By name, the lower and upper ends in bits [...], around the plug-in.
    """
    joint_LABK, shape = _joint(conditionals, weights)
    if images_enumerated and questions_enumerated:
        raise InputError("both axes are enumerated", "nothing was sampled", "there is no interval: the atoms are exact")
    check_fraction("level", level)
    drawn = bootstrap_crossed(
        conditionals,
        weights,
        n_replicates=n_replicates,
        fraction=fraction,
        images_enumerated=images_enumerated,
        questions_enumerated=questions_enumerated,
        seed=seed,
    )
    whole = {name: x[0] for name, x in _stacked([_atoms(joint_LABK)], shape).items()}
    widths = {name: fraction**0.5 * (drawn[name] - whole[name]).abs().quantile(level, dim=0) for name in whole}
    return {name: (whole[name] - widths[name], whole[name] + widths[name]) for name in whole}


def bootstrap_posteriors(
    joint: Tensor,
    vision: Tensor,
    language: Tensor,
    *,
    n_replicates: int = 200,
    fraction: float = 1.0,
    max_tilt: float = 0.1,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Atoms of paired posteriors with the samples drawn anew; each replicate is tilted anew.

    Args:
        joint: p(y | x1, x2), [..., N, K].
        vision: p(y | x1), [..., N, K].
        language: p(y | x2), [..., N, K].
        n_replicates: R.
        fraction: Samples drawn as a fraction of N.
        max_tilt: As in :func:`fusionscope.pid.pid_from_posteriors`.
        seed: Of the draws.

    Returns:
        By name of the atom, bits [R, ...].
    """
    for name, p in (("joint", joint), ("vision", vision), ("language", language)):
        check_simplex(name, p, n_event_dims=1, min_ndim=2)
    check_same_shape(("joint", joint), ("vision", vision), ("language", language))
    check_count("n_replicates", n_replicates)
    check_fraction("fraction", fraction, top=True)
    n = joint.shape[-2]
    generator = torch.Generator().manual_seed(seed)
    estimator = ExactEstimator(max_tilt=max_tilt)
    replicates: list[dict[str, Tensor]] = []
    for _ in range(n_replicates):
        picks = torch.randint(n, (max(2, round(fraction * n)),), generator=generator).to(joint.device)
        some_joint, some_vision, some_language = (p.index_select(-2, picks) for p in (joint, vision, language))
        drawn = PairSample(joint=some_joint, vision=some_vision, language=some_language)
        replicates.append(estimator.decompose(drawn).atoms())
    return {name: torch.stack([replicate[name] for replicate in replicates]) for name in ATOMS}


def permutation_null(
    conditionals: Tensor, *, source: str = "vision", n_replicates: int = 200, seed: int = 0
) -> dict[str, Tensor]:
    """Whether the information in a source exceeds what finitely many questions (or images) feign.

    Under the null, which image it is makes no difference that is consistent over questions: images are permuted
    within every question, independently. That keeps I(X1, X2; Y) and I(X2; Y) and leaves I(X1; Y) only its plug-in
    bias. There is no such null for synergy: permuting turns everything consistent into synergy. Use its standard
    error.

    Args:
        conditionals: p(y | a, b), [..., A, B, K], weighted uniformly.
        source: ``"vision"`` or ``"language"``.
        n_replicates: R.
        seed: Of the permutations.

    Returns:
        p-values [...] of the source's unique atom, of redundancy and of the source's information.
    """
    if source not in ("vision", "language"):
        raise InputError(f"source={source!r}", "it is 'vision' or 'language'", "choose one of them")
    joint_LABK, shape = _joint(conditionals, None)
    check_count("n_replicates", n_replicates)
    axis = 1 if source == "vision" else 2
    generator = torch.Generator().manual_seed(seed)
    observed = _atoms(joint_LABK)
    names = (f"unique_{source}", "redundancy", f"information_{source}")
    above = {name: torch.ones_like(observed[name]) for name in names}
    for _ in range(n_replicates):
        noise = torch.rand(joint_LABK.shape[1:3], generator=generator, dtype=torch.float64)
        order = noise.argsort(axis - 1).to(joint_LABK.device)[None, ..., None].expand_as(joint_LABK)
        null = _atoms(joint_LABK.gather(axis, order))
        above = {name: above[name] + (null[name] >= observed[name] - 1e-9) for name in names}
    return {name: (count / (n_replicates + 1)).reshape(shape) for name, count in above.items()}


def _joint(conditionals: Tensor, weights: Tensor | None) -> tuple[Tensor, tuple[int, ...]]:
    p = check_simplex("conditionals", conditionals, n_event_dims=1, min_ndim=3)
    w = check_weights("weights", weights, tuple(p.shape[-3:-1]), like=p)
    return (p * w[..., None]).reshape(-1, *p.shape[-3:]), tuple(p.shape[:-3])


def _atoms(joint_LABK: Tensor) -> dict[str, Tensor]:
    return {name: NATS_TO_BITS * x for name, x in with_atoms(plug_in_joint(joint_LABK)).items()}


def _stacked(replicates: list[dict[str, Tensor]], shape: tuple[int, ...]) -> dict[str, Tensor]:
    return {
        name: torch.stack([replicate[name] for replicate in replicates]).reshape(len(replicates), *shape)
        for name in replicates[0]
    }
