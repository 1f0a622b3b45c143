"""What a page claims of many cells and curves holds for all of them together."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionscope.errors import InputError
from fusionscope.records import Record
from fusionscope.records.heatmap import depth_heatmap
from fusionscope.records.simultaneous import first_layer, holm, interval, marks, onsets, student_quantile

Make = Callable[..., Record]
LAYERS, STEPS = 13, 20


def noise_map(generator: np.random.Generator) -> np.ndarray:
    """Correlated along layers and steps: .9 and .5 between neighbours."""
    noise = generator.standard_normal((LAYERS, STEPS))
    for axis, correlation in ((0, 0.9), (1, 0.5)):
        noise = np.moveaxis(noise, axis, 0)
        for i in range(1, len(noise)):
            noise[i] = correlation * noise[i - 1] + math.sqrt(1 - correlation**2) * noise[i]
        noise = np.moveaxis(noise, 0, axis)
    return noise


@pytest.fixture(scope="module")
def cells(make_record: Make) -> list[Record]:
    return [
        make_record(layer=layer, n_layers=LAYERS - 1, step=step, standard_errors={"synergy": 0.02})
        for layer in range(LAYERS)
        for step in range(STEPS)
    ]


def with_values(cells: list[Record], values: np.ndarray) -> list[Record]:
    return [replace(cell, synergy=float(value)) for cell, value in zip(cells, values.ravel(), strict=True)]


def test_a_map_of_noise_has_no_mark(cells: list[Record]) -> None:
    generator = np.random.default_rng(0)
    maps = [with_values(cells, 0.02 * noise_map(generator)) for _ in range(60)]
    pointwise = [any(cell.interval("synergy")[0] > 0 for cell in of_map) for of_map in maps]
    assert np.mean([marks(of_map, "synergy").any() for of_map in maps]) <= 0.06
    assert np.mean(pointwise) > 0.5  # what the marks are for


def test_what_is_there_is_marked(cells: list[Record]) -> None:
    values = np.zeros((LAYERS, STEPS))
    values[8:, 12:] = 0.2
    assert marks(with_values(cells, values), "synergy").reshape(LAYERS, STEPS).tolist() == (values > 0).tolist()
    assert not marks([replace(cell, synergy=0.2, standard_errors={}) for cell in cells], "synergy").any()
    assert depth_heatmap(with_values(cells, values), "synergy", vmax=0.2).std() > 0


def test_intervals_widen_with_the_claims_and_with_few_degrees_of_freedom(make_record: Make) -> None:
    record = make_record(synergy=0.1, intervals={"synergy": (0.05, 0.2)}, diagnostics={"degrees_of_freedom": 5.0})
    assert interval(record, "synergy", level=0.05) == pytest.approx((0.05, 0.2))
    low, high = interval(record, "synergy", level=0.01)
    assert low == pytest.approx(0.1 - 0.05 * 4.0321 / 2.5706, abs=1e-5)  # Student's t, 5 degrees: tables
    assert high == pytest.approx(0.1 + 0.1 * 4.0321 / 2.5706, abs=1e-5)
    normal = interval(replace(record, diagnostics={}), "synergy", level=0.01)
    assert normal[1] == pytest.approx(0.1 + 0.1 * 2.5758 / 1.9600, abs=1e-5)
    assert math.isnan(interval(make_record(), "synergy", level=0.01)[0])


@pytest.mark.parametrize(
    ("probability", "degrees", "quantile"),
    [
        (0.975, 1, 12.7062),
        (0.99999, 1, math.tan(math.pi * 0.49999)),
        (0.99999, 2, 0.99998 * math.sqrt(2 / (4 * 0.99999 * 0.00001))),
        (0.995, 10, 3.1693),
        (0.9995, 3, 12.924),
        (0.975, 1e6, 1.95996),
    ],
)
def test_students_quantiles_are_those_of_tables(probability: float, degrees: float, quantile: float) -> None:
    assert student_quantile(probability, degrees) == pytest.approx(quantile, rel=2e-4)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.2))
def test_holm_decides_as_its_definition(p_values: list[float], level: float) -> None:
    ordered = sorted(p_values)
    reached = 0
    while reached < len(ordered) and ordered[reached] <= level / (len(ordered) - reached):
        reached += 1
    assert sum(holm(p_values, level)) == reached
    assert all(p <= level for p, decided in zip(p_values, holm(p_values, level), strict=True) if decided)


def test_onsets_of_many_layers_are_decided_together(make_record: Make) -> None:
    generator = np.random.default_rng(3)
    rise = 1.0 * (np.arange(30) >= 17)
    records = [
        make_record(step=step, layer=layer, synergy=float(value), standard_errors={"synergy": 0.03})
        for layer in range(5)
        for step, value in enumerate(generator.normal(0, 0.03, 30) + (rise if layer >= 3 else 0))
    ]
    emerged = onsets(records)
    assert [emerged[records[0].series, layer].step for layer in range(5)] == [None, None, None, 17, 17]
    assert all(of_layer.probes == 30 for of_layer in emerged.values())
    assert onsets([]) == {}


def test_a_curve_that_stands_alone_may_not_stand_among_many(make_record: Make) -> None:
    weak = np.random.default_rng(11).normal(0, 0.1, 20) + 0.5 * (np.arange(20) >= 10)
    records = [
        make_record(step=step, layer=4, task=f"task {task}", synergy=float(value), standard_errors={"synergy": 0.1})
        for task in range(400)
        for step, value in enumerate(weak if task == 0 else np.random.default_rng(task).normal(0, 0.1, 20))
    ]
    alone, among = onsets(records[:20]), onsets(records)
    assert next(iter(alone.values())).step is not None
    assert [emerged.step for emerged in among.values()].count(None) == 400


def test_the_first_layer_is_between_what_all_intervals_allow(make_record: Make) -> None:
    values = [0.0, 0.0, 0.01, 0, 0, 0.02, 0.01, 0.06, 0.5, 1.0, 1.5]
    layers = [
        make_record(layer=i, n_layers=10, synergy=value, standard_errors={"synergy": 0.01})
        for i, value in enumerate(values)
    ]
    first = first_layer(layers, "synergy")
    assert (first.layer, first.low, first.high) == (7, 7, 8)
    assert first_layer([replace(r, standard_errors={}) for r in layers], "synergy").layer is None
    assert first_layer(layers[:7], "synergy").layer is None
    with pytest.raises(InputError, match="2 series and steps"):
        first_layer([*layers, make_record(step=5)], "synergy")


def test_each_atom_of_pairs_is_widened_by_its_own_degrees_of_freedom(make_record: Make) -> None:
    record = make_record(
        synergy=1.0, intervals={"synergy": (0.9, 1.1)}, diagnostics={"degrees_of_freedom_synergy": 3.0}
    )
    low, high = interval(record, "synergy", level=0.001)
    longer = 12.924 / 3.182  # Student's with 3 degrees of freedom, from tables
    assert (low, high) == pytest.approx((1 - 0.1 * longer, 1 + 0.1 * longer), abs=1e-3)
