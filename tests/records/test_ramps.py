"""The fits that an onset rests on: against fits made another way, and what must not change them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionscope.records.change_point import change_point, cleaned, running_median
from fusionscope.records.onset_null import P_VALUES, SCORES, p_value
from fusionscope.records.ramps import CORRELATIONS, candidates, fit, shape

CURVES = st.lists(st.floats(-3, 3, allow_nan=False, width=32), min_size=8, max_size=40).map(np.array)


def covariance(n: int, correlation: float) -> np.ndarray:
    return correlation ** np.abs(np.arange(n)[:, None] - np.arange(n)) / (1 - correlation**2)


@pytest.mark.parametrize("n", [8, 21])
def test_fits_are_those_of_generalised_least_squares(n: int) -> None:
    generator = np.random.default_rng(n)
    x = generator.normal(size=n).cumsum()
    fits = fit(x[None])
    for c in generator.integers(len(fits.first), size=12):
        likelihoods = []
        for correlation in CORRELATIONS:
            inverse = np.linalg.inv(covariance(n, correlation))
            design = np.stack([np.ones(n), shape(*candidates(n), n)[:, c]], axis=1)
            level, height = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ x)
            height = max(height, 0.0)
            level = level if height else inverse.sum(0) @ x / inverse.sum()
            rest = x - design @ [level, height]
            log_determinant = np.linalg.slogdet(covariance(n, correlation))[1]
            likelihoods.append((n * np.log(rest @ inverse @ rest) + log_determinant, height))
        best, height = min(likelihoods)
        assert fits.rising[0, c] == pytest.approx(best, rel=1e-9, abs=1e-7)
        assert fits.rise[0, c] == pytest.approx(height, abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(CURVES, st.floats(-5, 5), st.floats(0.1, 10))
def test_scores_know_no_unit_and_no_level(curve: np.ndarray, level: float, unit: float) -> None:
    curve = curve + np.random.default_rng(0).normal(size=len(curve))
    score = fit(cleaned(curve)[None]).score()
    assert fit(cleaned(level + unit * curve)[None]).score() == pytest.approx(score, rel=1e-5, abs=1e-6)
    assert score >= 0


@settings(max_examples=60, deadline=None)
@given(CURVES, st.integers(0, 2), st.floats(-1e3, 1e3))
def test_the_end_probes_never_speak_alone(curve: np.ndarray, end: int, value: float) -> None:
    place = (0, -1)[end % 2]
    changed = curve.copy()
    changed[place] = value
    neighbours = curve[1:3] if place == 0 else curve[-3:-1]
    assert neighbours.min() <= cleaned(changed)[place] <= neighbours.max()


@settings(max_examples=60, deadline=None)
@given(CURVES)
def test_what_rises_all_the_way_is_not_cleaned(curve: np.ndarray) -> None:
    curve = np.sort(curve)
    assert cleaned(curve)[1:-1] == pytest.approx(curve[1:-1])
    assert running_median(curve)[1:-1] == pytest.approx(curve[1:-1])


@settings(max_examples=80, deadline=None)
@given(CURVES)
def test_an_onset_lies_in_its_interval_and_is_a_rise(curve: np.ndarray) -> None:
    change = change_point(curve, np.zeros(len(curve)), level=1.0)
    wide = change_point(curve, np.zeros(len(curve)), level=1.0, coverage=0.9999)
    assert 0 <= change.p_value <= 1
    if change.index is not None:
        assert change.low is not None
        assert change.high is not None
        assert wide.low is not None
        assert wide.high is not None
        assert change.index >= 2
        assert wide.low <= change.low <= change.index <= change.high <= wide.high < len(curve)


@settings(max_examples=40, deadline=None)
@given(CURVES)
def test_what_falls_all_the_way_has_no_onset(curve: np.ndarray) -> None:
    assert change_point(np.sort(curve)[::-1], np.zeros(len(curve)), level=1.0).index is None


def test_p_values_fall_with_the_score_and_read_the_table() -> None:
    for probes in (8, 11, 20, 57, 96):
        p = [p_value(score, probes) for score in np.linspace(0, 120, 400)]
        assert p[0] == 1
        assert (np.diff(p) <= 0).all()
    for probes, scores in SCORES.items():
        assert [p_value(score, probes) for score in scores] == pytest.approx(list(P_VALUES), rel=1e-9)


@pytest.mark.parametrize("probes", [12, 28])
def test_the_table_is_what_noise_does(probes: int) -> None:
    # 28 probes are between two entries of the table; 4,000 curves leave the level of 5 % a deviation of 0.35 %.
    generator = np.random.default_rng(probes)
    noise = generator.standard_normal((4000, probes))
    noise[:, 1:] *= np.sqrt(1 - 0.9**2)
    for i in range(1, probes):
        noise[:, i] += 0.9 * noise[:, i - 1]
    p = [p_value(score, probes) for score in fit(cleaned(noise)).score()]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.011)
