"""Natural pairs as they are: identified intervals, whole images, two laws of questions."""

import dataclasses
import math

import pytest
import torch

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.pid import pid_from_posteriors
from fusionscope.probe import ProbeSpec, posteriors, probe, to_record
from fusionscope.probe.designs.rows import chosen_rows
from fusionscope.tasks import benchmark_law


@pytest.fixture(scope="module")
def asked(make_task):
    """Eight images with two of three questions each."""
    task = make_task(n_images=8)
    pairs = torch.tensor([[a, b] for a in range(8) for b in range(3) if (a + b) % 3])
    answers = task.truth[pairs[:, 0], pairs[:, 1]]
    laws = {**task.row_laws, "benchmark": benchmark_law(pairs)}
    return dataclasses.replace(
        task, pairs=pairs, pair_answers=answers, crossable=False, truth=None, pair_weights={}, row_laws=laws
    )


def test_rows_are_the_default_of_what_cannot_be_crossed_and_run_the_pairs_alone(llava, make_task, asked):
    rows = posteriors(llava, asked)
    grid = posteriors(llava, make_task(n_images=8), ProbeSpec(design="crossed")).conditionals
    assert rows.design == "rows"
    torch.testing.assert_close(rows.joint, grid[:, asked.pairs[:, 0], asked.pairs[:, 1]], atol=1e-5, rtol=0)


def test_a_whole_benchmark_under_its_own_law_is_a_point(llava, asked):
    (result,) = probe(llava, asked, ProbeSpec(layers="last", laws="benchmark"))
    joint = posteriors(llava, asked, ProbeSpec(layers="last")).joint[0]
    image_N, question_N = asked.pairs.T
    vision = torch.stack([joint[image_N == a].mean(0) for a in image_N])
    language = torch.stack([joint[question_N == b].mean(0) for b in question_N])
    expected = pid_from_posteriors(joint, vision, language)
    for atom, value in result.pid.atoms().items():
        low, high = result.pid.identified[atom]
        assert float(low) <= float(value) <= float(high)
        assert float(value) == pytest.approx(float(expected.atoms()[atom]), abs=1e-9)
        assert float(high - low) < 1e-8
    assert (result.law, result.variant, result.n, result.n_images) == ("benchmark", "rows+benchmark", 16, 8)


def test_under_a_population_law_there_are_intervals_and_records_keep_them(llava, asked):
    (result,) = probe(llava, asked, ProbeSpec(layers="last", laws="population"))
    assert result.variant == "rows"
    low, high = result.pid.identified["synergy"]
    assert float(high - low) > 0.05
    assert math.isnan(float(result.pid.synergy))
    record = to_record(result, run="r", run_name="r", step=0, stage="s", stage_step=0, model="m")
    assert record.interval("synergy") == (float(low), float(high))
    assert type(record).from_json(record.to_json()).identified["union"] == record.identified["union"]
    assert len(probe(llava, asked, ProbeSpec(layers="last"))) == 2, "both laws from the same passes"


def test_a_limit_draws_whole_images(asked):
    few = ProbeSpec(design="rows", max_pairs=9, seed=3)
    kept = asked.pairs[chosen_rows(asked, few)]
    assert len(kept) == 8
    assert all(int((kept[:, 0] == a).sum()) == 2 for a in kept[:, 0])
    assert few.design_of(asked).sample_size(asked, few)[0] == 4
    with pytest.raises(InputError, match=r"max_pairs=3[\s\S]*whole images"):
        chosen_rows(asked, dataclasses.replace(few, max_pairs=3))


def test_laws_are_checked(llava, asked):
    with pytest.raises(UnknownNameError, match=r"law 'uniform'[\s\S]*benchmark, population"):
        ProbeSpec(laws="uniform").check(asked)
