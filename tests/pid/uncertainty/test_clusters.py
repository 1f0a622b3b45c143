"""Pairs that share images and questions: variances, degrees of freedom, calibration, enumerated populations."""

import pytest
import torch

from fusionscope.pid import confidence_intervals, pid_from_joint
from fusionscope.pid.estimators import PairSample, get_estimator
from fusionscope.pid.result import ATOMS
from fusionscope.pid.uncertainty.clusters import clustered, partitions

IMAGES, QUESTIONS = torch.arange(48).repeat_interleave(4), torch.arange(192)
POOL = torch.cat([torch.randperm(24, generator=torch.Generator().manual_seed(i))[:4] for i in range(48)])


def world():
    """Four answers, both sources with much unique information."""
    g = torch.Generator().manual_seed(0)
    shapes = ((4, 1), (1, 4), (4, 4))
    logits = (
        s * torch.randn(*shape, 4, generator=g, dtype=torch.float64)
        for s, shape in zip((1.5, 1.5, 0.7), shapes, strict=True)
    )
    return torch.softmax(sum(logits), -1)


def draws(n, images, questions, **more):
    p, g = world(), torch.Generator().manual_seed(1)
    a = torch.randint(4, (n, int(images.max()) + 1), generator=g)[:, images]
    b = torch.randint(4, (n, int(questions.max()) + 1), generator=g)[:, questions]
    return PairSample(
        joint=p[a, b], vision=p.mean(1)[a], language=p.mean(0)[b], images=images, questions=questions, **more
    )


def decompose(sample):
    return get_estimator("exact", max_tilt=1.0).decompose(sample, standard_errors=True)


@pytest.mark.parametrize("questions", [QUESTIONS, POOL], ids=["own questions", "a pool"])
def test_errors_and_intervals_of_shared_images_are_honest(questions):
    """As independent pairs, the standard errors of these atoms are half of their spread."""
    truth = pid_from_joint(world() / 16).atoms()
    result = decompose(draws(150, IMAGES, questions))
    ends = confidence_intervals(result)
    for name, bits in result.atoms().items():
        claimed = (result.standard_errors[name] ** 2).mean().sqrt()
        assert 0.85 <= claimed / bits.std() <= 1.25, name
        low, high = ends[name]
        assert 0.9 <= ((low <= truth[name]) & (truth[name] <= high)).double().mean() <= 1.0, name
        assert ((low <= bits) & (bits <= high)).all(), name


def test_pairs_that_share_nothing_are_independent():
    sample = draws(3, QUESTIONS, QUESTIONS)
    alone = decompose(PairSample(joint=sample.joint, vision=sample.vision, language=sample.language))
    named = decompose(sample)
    for name in ATOMS:
        assert torch.equal(alone.standard_errors[name], named.standard_errors[name])
        assert (alone.diagnostics[f"degrees_of_freedom_{name}"] == 190).all()


def test_an_enumerated_axis_has_no_error_and_a_whole_population_none_at_all():
    both = decompose(draws(2, IMAGES, POOL)).standard_errors["total"]
    images_alone = decompose(draws(2, IMAGES, POOL, questions_enumerated=True)).standard_errors["total"]
    none = decompose(draws(2, IMAGES, POOL, questions_enumerated=True, images_enumerated=True))
    assert (images_alone < both).all()
    assert (none.standard_errors["total"] == 0).all()
    low, high = confidence_intervals(none)["synergy"]
    assert ((high - low) < 2e-3).all()


def test_a_two_way_variance_is_both_ways_less_their_cells():
    g = torch.Generator().manual_seed(0)
    d = torch.randn(1, 12, generator=g, dtype=torch.float64)
    images, questions = torch.arange(12) // 3, torch.arange(12) % 3
    by = partitions(images, questions, (True, True))
    assert [part.n for part in by] == [4, 3, 12]
    rows, columns, cells = d.view(4, 3).sum(1), d.view(4, 3).sum(0), d[0]
    each = [(x**2).sum() * len(x) / (len(x) - 1) for x in (rows, columns, cells)]
    variance, degrees = clustered(d, torch.full_like(d, 1 / 12), by)
    assert variance[0] == pytest.approx(float(max(each[0] + each[1] - each[2], *each[:2])))
    assert degrees >= 1


@pytest.mark.parametrize(
    ("images", "questions", "sampled", "units"),
    [
        ([0, 0, 1, 1], [0, 1, 2, 3], (True, True), [2]),
        ([0, 1, 2, 3], [0, 0, 1, 1], (True, True), [2]),
        ([0, 0, 1, 1], [0, 1, 0, 1], (True, True), [2, 2, 4]),
        ([0, 0, 1, 1], [0, 1, 0, 1], (True, False), [2]),
        ([0, 0, 1, 1], [0, 1, 0, 1], (False, False), []),
    ],
)
def test_pairs_are_grouped_by_what_was_sampled(images, questions, sampled, units):
    assert [part.n for part in partitions(torch.tensor(images), torch.tensor(questions), sampled)] == units
