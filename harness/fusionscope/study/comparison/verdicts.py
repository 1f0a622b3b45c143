"""Which regime a task is in and what a family's strategy is, where more than chance says so.

Shapes: M models, P permutations, F families.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fusionscope.records.simultaneous import holm
from fusionscope.study.comparison.statistics import (
    FEWEST_MODELS,
    Floats,
    Row,
    by_task,
    known,
    picks,
    spearman,
    standardised,
    values,
)

STRONG, MARGIN = 0.5, 0.25
UNDECIDED, MIXED = "undecided", "mixed"
LEVEL = 0.025
"""Of all tasks of a profile together, and of all its families: both tables together give noise a verdict in 5 %."""
TASK_RULE = (
    "synergy-driven: Spearman(S, accuracy) is at least 0.5 and exceeds Spearman(U2, accuracy) by at least 0.25; "
    "knowledge-driven: otherwise, if Spearman(U2, accuracy) is positive and at most 0.25 below Spearman(S, accuracy); "
    "undecided: neither, or models whose accuracies are exchanged at random give as strong a verdict too often (all "
    "tasks together at 2.5 %)"
)
FAMILY_RULE = (
    "S and U2 are standardised over the models of each task and averaged over a family's models and tasks; "
    "fusion-centric: S above and U2 below the mean; language-centric: S below and U2 above; mixed: neither; "
    "undecided: families made of models at random are as far from the mean too often (all families together at 2.5 %)"
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A task's regime or a family's strategy, with what decided it.

    Args:
        name: The task or the family.
        verdict: What it is, ``undecided`` where chance gives as strong a verdict too often.
        rule: What the two numbers alone would say.
        synergy, language: The two numbers that the rule compares; NaN where they are undefined, as for two models.
        p_value: How often chance gives as strong a verdict; NaN where the rule gives none.
        models: Number of models behind it.
        support: Fraction of bootstrap resamples of the models that the rule says the same of; NaN for families, for
            fewer than 6 models, and where a number that the rule compares is undefined.
    """

    name: str
    verdict: str
    rule: str
    synergy: float
    language: float
    p_value: float
    models: int
    support: float = math.nan


def regime(synergy: float, language: float) -> str:
    """What `TASK_RULE` says of Spearman(S, accuracy) and Spearman(U2, accuracy), chance left aside.

    >>> regime(0.750, 0.194), regime(0.357, 0.313), regime(0.2, -0.3)  # the paper's MMBench and Reefknot; neither
    ('synergy-driven', 'knowledge-driven', 'undecided')
    """
    if synergy >= STRONG and synergy - language >= MARGIN:
        return "synergy-driven"
    if language > 0 and synergy - language <= MARGIN:
        return "knowledge-driven"
    return UNDECIDED


def task_regimes(
    rows: Sequence[Row], *, resamples: int = 2000, permutations: int = 4999, seed: int = 0
) -> list[Verdict]:
    """The regime of each task, all tasks together.

    Args:
        rows: One a model and task.
        resamples: Bootstrap resamples of the models, for the support.
        permutations: Of the models' accuracies, for the test.
        seed: Of both.
    """
    verdicts = [_regime(task, models, resamples, permutations, seed) for task, models in by_task(rows).items()]
    return _together(verdicts)


def family_strategies(rows: Sequence[Row], *, permutations: int = 4999, seed: int = 0) -> list[Verdict]:
    """The strategy of each family, all families together.

    A family's distance is the smaller of its two numbers, where they point to opposite sides, times the root of its
    number of models. Its p value compares it with the largest distance of any family when models are dealt out to
    families at random.

    Args:
        rows: One a model and task.
        permutations: Of the models over the families.
        seed: Of the permutations.

    Reference:
        Westfall, Young 1993, "Resampling-based multiple testing" (the largest of all).
    """
    scores, counts, family_of = _scores(rows)
    names = list(dict.fromkeys(family_of))
    if not names:
        return []
    member_FM = np.array([[family == name for family in family_of] for name in names], dtype=np.float64)
    means_F2 = _means(member_FM, scores, counts)
    distance_F = _distance(means_F2, member_FM)
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(len(family_of)) for _ in range(permutations)]
    largest_P = np.array([_distance(_means(member_FM, scores[o], counts[o]), member_FM).max() for o in orders])
    return [
        _strategy(name, means, int(members.sum()), (1 + (largest_P >= distance - 1e-12).sum()) / (permutations + 1))
        for name, means, members, distance in zip(names, means_F2, member_FM, distance_F, strict=True)
    ]


def _regime(task: str, rows: Sequence[Row], resamples: int, permutations: int, seed: int) -> Verdict:
    s_M, u_M, y_M = known(rows, "synergy", "unique_language", "accuracy")
    synergy, language = math.nan, math.nan
    if len(y_M) > 2:
        synergy, language = float(spearman(s_M, y_M)), float(spearman(u_M, y_M))
    rule = regime(synergy, language)
    support = math.nan
    if math.isfinite(synergy) and math.isfinite(language) and len(y_M) >= FEWEST_MODELS:
        picks_BM = picks(len(y_M), resamples, seed)
        pairs = zip(spearman(s_M[picks_BM], y_M[picks_BM]), spearman(u_M[picks_BM], y_M[picks_BM]), strict=True)
        support = float(np.mean([regime(s, u) == rule for s, u in pairs]))
    return Verdict(
        name=task,
        verdict=rule,
        rule=rule,
        synergy=synergy,
        language=language,
        p_value=math.nan if rule == UNDECIDED else _by_chance(s_M, u_M, y_M, permutations, seed),
        models=len(y_M),
        support=support,
    )


def _by_chance(s_M: Floats, u_M: Floats, y_M: Floats, permutations: int, seed: int) -> float:
    """How often permuted accuracies give any regime, by as large a coefficient as the one that carries this one."""
    strength = _strength(spearman(s_M, y_M), spearman(u_M, y_M))
    shuffled_PM = np.random.default_rng(seed).permuted(np.tile(y_M, (permutations, 1)), axis=1)
    by_chance_P = _strength(spearman(s_M, shuffled_PM), spearman(u_M, shuffled_PM))
    return float((1 + (by_chance_P >= strength - 1e-12).sum()) / (permutations + 1))


def _strength(synergy: Floats, language: Floats) -> Floats:
    """The coefficient that carries the regime: of S for synergy-driven, of U2 for knowledge-driven, 0 for undecided."""
    fused = (synergy >= STRONG) & (synergy - language >= MARGIN)
    knows = ~fused & (language > 0) & (synergy - language <= MARGIN)
    strength: Floats = np.where(fused, synergy, np.where(knows, language, 0.0))
    return strength


def _together(verdicts: Sequence[Verdict]) -> list[Verdict]:
    # A task of which the rule says nothing was tested too: it could have been called something.
    stands = holm([1.0 if math.isnan(verdict.p_value) else verdict.p_value for verdict in verdicts], LEVEL)
    return [v if stood else replace(v, verdict=UNDECIDED) for v, stood in zip(verdicts, stands, strict=True)]


def _scores(rows: Sequence[Row]) -> tuple[Floats, NDArray[np.int64], list[str]]:
    """Sums of each model's standardised S and U2 over tasks [M, 2], the number of its tasks [M], its family."""
    sums: dict[tuple[str, str], Floats] = {}
    counts: dict[tuple[str, str], int] = {}
    for models in by_task(rows).values():
        solved = [row for row in models if math.isfinite(row.value("synergy") + row.value("unique_language"))]
        pairs = np.stack([standardised(values(solved, name)) for name in ("synergy", "unique_language")], axis=-1)
        for row, pair in zip(solved, pairs, strict=True):
            key = (row.family, row.model)
            sums[key] = sums.get(key, np.zeros(2)) + pair
            counts[key] = counts.get(key, 0) + 1
    scores = np.array(list(sums.values())).reshape(-1, 2)
    return scores, np.array(list(counts.values()), dtype=np.int64), [family for family, _ in sums]


def _means(member_FM: Floats, scores_M2: Floats, counts_M: NDArray[np.int64]) -> Floats:
    means: Floats = (member_FM @ scores_M2) / (member_FM @ counts_M)[:, None]
    return means


def _distance(means_F2: Floats, member_FM: Floats) -> Floats:
    opposite = means_F2[:, 0] * means_F2[:, 1] < 0
    distance: Floats = np.where(opposite, np.abs(means_F2).min(-1) * np.sqrt(member_FM.sum(-1)), 0.0)
    return distance


def _strategy(name: str, means: Floats, models: int, p_value: float) -> Verdict:
    synergy, language = float(means[0]), float(means[1])
    rule = MIXED
    if synergy > 0 > language:
        rule = "fusion-centric"
    if synergy < 0 < language:
        rule = "language-centric"
    return Verdict(
        name=name,
        verdict=rule if rule == MIXED or p_value <= LEVEL else UNDECIDED,
        rule=rule,
        synergy=synergy,
        language=language,
        p_value=math.nan if rule == MIXED else p_value,
        models=models,
    )
