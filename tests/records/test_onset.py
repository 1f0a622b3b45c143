"""The onset of an atom: where it is, how sure that is, and that noise has none."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from fusionscope.errors import InputError
from fusionscope.records import Record
from fusionscope.records.change_point import change_point
from fusionscope.records.onset import onset, phases

Curve = Callable[..., list[Record]]


def logistic(n: int, middle: float, width: float, height: float = 1.97) -> np.ndarray:
    return height / (1 + np.exp(-(np.arange(n) - middle) / width))


def test_of_two_stages_at_one_step_the_solved_one_counts(make_record: Callable[..., Record]) -> None:
    records = [make_record(step=10 * i, stage_step=10 * i, synergy=float(i >= 4)) for i in range(9)]
    unsolved = make_record(step=40, stage="2_tune", stage_step=0, synergy=math.nan)
    assert onset([*records, unsolved]).probes == 9
    assert onset([*records, unsolved]).step == 40


@pytest.mark.parametrize("probes", [8, 12, 25])
@pytest.mark.parametrize("kind", ["noise", "noise and a spike", "a level and noise", "heavy tails"])
def test_runs_without_learning_have_no_onset(probes: int, kind: str) -> None:
    generator = np.random.default_rng(20 + probes)
    found = 0
    for _ in range(100):
        values = generator.normal(0, 0.03, probes)
        if kind == "noise and a spike":
            values[generator.integers(probes)] += 1.0
        if kind == "a level and noise":
            values += 0.5
        if kind == "heavy tails":
            values = 0.03 * generator.standard_t(2, probes)
        found += change_point(values, np.full(probes, 0.03)).index is not None
    assert found <= 3


def correlated(generator: np.random.Generator, probes: int, correlation: float) -> np.ndarray:
    """Noise of standard deviation 1 whose neighbours correlate."""
    fresh = generator.standard_normal(probes) * np.sqrt(1 - correlation**2)
    noise = [generator.standard_normal()]
    for new in fresh[1:]:
        noise.append(correlation * noise[-1] + new)
    return np.array(noise)


@pytest.mark.parametrize(("correlation", "least", "most"), [(0.0, 0.0, 0.05), (0.9, 0.14, 0.26)])
def test_a_test_of_noise_has_at_most_its_level(correlation: float, least: float, most: float) -> None:
    # Of the correlations up to 0.9, the last is the worst, at which the level is the nominal one.
    generator = np.random.default_rng(3)
    p = [change_point(correlated(generator, 15, correlation), np.zeros(15)).p_value for _ in range(300)]
    assert least < np.mean(np.array(p) <= 0.2) < most  # binomial: two standard deviations are 0.046


@pytest.mark.parametrize("correlation", [0.5, 0.9])
@pytest.mark.parametrize("probes", [20, 40, 150])
def test_noise_that_goes_on_from_probe_to_probe_has_no_onset(probes: int, correlation: float) -> None:
    generator = np.random.default_rng(probes)
    curves = [correlated(generator, probes, correlation) for _ in range(150)]
    for errors in (np.ones(probes), np.zeros(probes), np.full(probes, math.sqrt(1 - correlation**2))):
        assert np.mean([change_point(curve, errors).index is not None for curve in curves]) <= 0.03  # 1 % and chance


def test_the_last_probe_alone_is_no_onset() -> None:
    generator = np.random.default_rng(8)
    for probes in (8, 20, 97):
        curve = generator.normal(0, 0.03, probes)
        curve[-1] = 2.0
        assert change_point(curve, np.full(probes, 0.03)).index is None


@pytest.mark.parametrize("error", [0.005, 0.02, 0.03])
def test_onset_is_within_one_probe_of_the_truth(error: float) -> None:
    generator = np.random.default_rng(7)
    off = []
    for _ in range(60):
        truth = logistic(20, generator.uniform(8, 15), generator.uniform(0.3, 1.2))
        exact = change_point(truth, np.zeros(20)).index
        found = change_point(truth + generator.normal(0, error, 20), np.full(20, error))
        assert exact is not None
        assert found.index is not None
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.index <= found.high
        off.append((abs(found.index - exact), found.low <= exact <= found.high))
    distances, covered = np.array(off).T
    assert (distances <= 1).mean() >= 0.93  # 60 curves; at the largest error 0.96 are expected
    assert covered.mean() >= 0.9


@pytest.mark.parametrize("at", [0, 3, 9, 10, 14, 19])
@pytest.mark.parametrize("size", [-1.5, 1.5])
def test_one_noisy_probe_moves_the_onset_by_one_at_the_most(at: int, size: float) -> None:
    truth = logistic(20, 11, 0.6)
    clean = change_point(truth, np.full(20, 0.02)).index
    truth[at] += size
    spoilt = change_point(truth, np.full(20, 0.02)).index
    assert clean is not None
    assert spoilt is not None
    assert abs(clean - spoilt) <= 1


def test_what_falls_back_has_no_onset_and_what_begins_high_needs_a_rise() -> None:
    up_and_down = np.r_[np.zeros(6), np.full(6, 1.0), np.zeros(6)]
    assert change_point(up_and_down, np.full(18, 0.02)).index is None
    high = np.r_[np.full(8, 0.5), np.full(8, 1.5)] + np.random.default_rng(0).normal(0, 0.01, 16)
    found = change_point(high, np.full(16, 0.02))
    assert found.index == 8
    assert found.null == pytest.approx(0.55, abs=0.02)


def test_a_wandering_plateau_is_the_level_before_the_rise() -> None:
    # S of the last layer over a sandbox run: untrained eyes give a plateau that wanders, fusion comes at the 18th probe
    curve = [
        0.001,
        0.329,
        0.163,
        0.313,
        0.313,
        0.305,
        0.243,
        0.203,
        0.455,
        0.552,
        0.388,
        0.340,
        0.330,
        0.325,
        0.332,
        0.391,
        0.488,
        0.222,
        0.241,
        1.173,
        1.557,
        1.821,
        1.916,
        1.930,
        1.975,
        1.977,
        1.980,
    ]
    found = change_point(np.array(curve), np.zeros(27))
    assert found.index == 19
    assert 0.35 < found.null < 0.55


def test_a_rise_smaller_than_the_resolution_is_none() -> None:
    assert change_point(np.linspace(0, 0.04, 20), np.zeros(20)).index is None


@pytest.mark.parametrize("values", [[0.0, 1.0, 2.0], [0.0, 0.01, 0.5, 1.5, 1.9, 1.95]])
def test_too_few_probes_are_undecided(values: list[float], make_curve: Curve) -> None:
    # Six probes in a row that rise were called an onset once, by permuting them: noise that correlates 0.9 with its
    # neighbour rises six times in a row in one curve of thirty.
    found = onset(make_curve(values))
    assert found.step is None
    assert math.isnan(found.p_value)
    assert "too few" in str(found)


def test_eight_probes_are_enough_for_a_rise_beyond_doubt(make_curve: Curve) -> None:
    assert onset(make_curve([0.0, 0.01, -0.01, 0.0, 1.5, 1.52, 1.5, 1.49])).step == 40


@pytest.mark.parametrize("correlation", [0.0, 0.5])
@pytest.mark.parametrize(("probes", "height"), [(20, 5), (40, 2), (40, 5), (150, 2), (150, 5)])
def test_the_interval_covers_weak_rises(probes: int, height: int, correlation: float) -> None:
    generator = np.random.default_rng(height)
    covered = []
    for _ in range(100):
        truth = int(generator.integers(int(0.3 * probes), int(0.8 * probes)))
        values = correlated(generator, probes, correlation) + height * (np.arange(probes) >= truth)
        change = change_point(values, np.ones(probes))
        if change.index is not None:
            assert change.low is not None
            assert change.high is not None
            covered.append(change.low <= truth <= change.high)
    assert len(covered) >= 8
    assert np.mean(covered) >= 0.9


@pytest.mark.parametrize("probes", [97, 400, 1001])
def test_long_curves_are_located_to_the_probe(probes: int) -> None:
    generator = np.random.default_rng(probes)
    truth = 2 * probes // 3
    change = change_point(generator.normal(0, 0.05, probes) + 1.0 * (np.arange(probes) >= truth), np.full(probes, 0.05))
    assert change.index == truth
    assert change.low is not None
    assert change.high is not None
    assert change.low <= truth <= change.high <= change.low + 4 * probes // 96 + 4


def test_onset_reads_one_curve_and_counts_a_step_once(make_curve: Curve, make_record: Callable[..., Record]) -> None:
    records = make_curve([0.0] * 8 + [1.0, 1.5, 1.9, 2.0])
    twice = [*records, make_record(step=40, stage="2_tune", stage_step=0, synergy=0.01)]
    assert onset(twice).probes == 12
    assert onset(twice).step == 80
    assert onset([*records[::-1], make_record(step=999, synergy=math.nan)]).step == 80
    with pytest.raises(InputError, match="2 series and layers"):
        onset([*records, make_record(layer=3)])
    with pytest.raises(InputError, match="0 series"):
        onset([])


def test_depth_has_phases(make_record: Callable[..., Record]) -> None:
    layers = [
        make_record(layer=i, n_layers=10, synergy=s, unique_language=0.2 * min(i, 8), standard_errors={"synergy": 0.01})
        for i, s in enumerate([0.0, 0.0, 0.01, 0, 0, 0.02, 0.01, 0.0, 0.5, 1.0, 1.5])
    ]
    assert [round(p.share, 2) for p in phases(layers, atom="synergy")] == [0.01, 0.33, 0.67]
    assert [round(p.gain, 2) for p in phases(layers, atom="unique_language")] == [0.4, 1.2, 0.0]
    assert phases(layers, atom="synergy")[1].error == pytest.approx(0.01 * math.sqrt(2))
    assert math.isnan(phases(layers, atom="synergy")[1].correlation)
    with pytest.raises(InputError, match="2 series and steps"):
        phases([*layers, make_record(step=5)], atom="synergy")


@pytest.mark.parametrize("together", [0.0, 0.95])
def test_errors_of_phases_know_that_layers_go_together(together: float, make_record: Callable[..., Record]) -> None:
    generator = np.random.default_rng(2)
    rising = 0.2 * np.arange(6) / (1 + np.exp(-(np.arange(40)[:, None] - 20) / 4))
    ratios = []
    for _ in range(20):
        shared, alone = generator.normal(size=(40, 1)), generator.normal(size=(40, 6))
        values = rising + 0.02 * (math.sqrt(together) * shared + math.sqrt(1 - together) * alone)
        history = [
            make_record(step=step, layer=i, n_layers=5, synergy=value, standard_errors={"synergy": 0.02})
            for step, row in enumerate(values)
            for i, value in enumerate(row)
        ]
        middle = phases([r for r in history if r.step == 39], atom="synergy", history=history)[1]
        ratios.append(middle.error / (0.02 * math.sqrt(2 * (1 - together))))
    assert 0.8 < np.median(ratios) < 1.25
