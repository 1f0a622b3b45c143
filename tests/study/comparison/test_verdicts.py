"""Verdicts over models: chance gets none, and what is beyond chance gets its own."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from fusionscope.records import Record
from fusionscope.study.comparison.statistics import Row, correlations
from fusionscope.study.comparison.tables import comparisons
from fusionscope.study.comparison.verdicts import family_strategies, task_regimes

Make = Callable[..., Record]


def rows(make_record: Make, synergy: np.ndarray, language: np.ndarray, accuracy: np.ndarray) -> list[Row]:
    """One task, models of four families in turn."""
    return [
        Row(
            model=f"m{i}",
            family=f"f{i % 4}",
            parameters=1e9,
            record=make_record(run=f"m{i}", task="t", synergy=s, unique_language=u, accuracy=y),
        )
        for i, (s, u, y) in enumerate(zip(synergy, language, accuracy, strict=True))
    ]


@pytest.mark.parametrize("models", [3, 10, 26])
def test_profiles_of_noise_get_no_verdict(models: int, make_record: Make) -> None:
    generator = np.random.default_rng(models)
    verdicts = 0
    for _ in range(60):
        profile = rows(make_record, *generator.normal(size=(3, models)))
        (task,) = task_regimes(profile, resamples=2, permutations=199)
        families = family_strategies(profile, permutations=199)
        verdicts += task.verdict != "undecided" or any(f.verdict not in ("undecided", "mixed") for f in families)
    assert verdicts <= 6  # 5 % and two standard deviations


def test_verdicts_stay_where_models_tell(make_record: Make) -> None:
    skill = np.linspace(0, 1, 26)
    fused = rows(make_record, skill, np.random.default_rng(0).normal(size=26), skill)
    (task,) = task_regimes(fused, resamples=50)
    assert (task.verdict, task.rule, task.models) == ("synergy-driven", "synergy-driven", 26)
    assert task.p_value < 0.001
    ties = rows(make_record, skill.round(1), -skill.round(1), skill.round(1))
    assert task_regimes(ties, resamples=50)[0].verdict == "synergy-driven"


def test_two_models_say_nothing_and_five_have_no_interval(make_record: Make) -> None:
    two = rows(make_record, *np.array([[0.1, 0.2], [0.3, 0.1], [0.5, 0.9]]))
    assert all(math.isnan(c.rho) and c.why for c in correlations(two, resamples=20))
    assert task_regimes(two)[0].verdict == "undecided"
    assert all(strategy.verdict in ("undecided", "mixed") for strategy in family_strategies(two))
    table = comparisons(two)["Spearman correlations over models (95 % bootstrap interval, each by itself)"]
    assert "2 models: any two agree or disagree wholly" in table[1][-1]
    line = np.arange(7.0)
    five, six = (rows(make_record, line[:n], line[::-1][:n], line[:n]) for n in (5, 6))
    (of_five,) = (c for c in correlations(five, resamples=20) if (c.measure, c.target) == ("synergy", "accuracy"))
    (of_six,) = (c for c in correlations(six, resamples=20) if (c.measure, c.target) == ("synergy", "accuracy"))
    assert of_five.rho == of_six.rho == pytest.approx(1)
    assert math.isnan(of_five.low)
    assert of_six.low <= of_six.rho
    assert "1.000 (no interval)" in str(comparisons(five))
