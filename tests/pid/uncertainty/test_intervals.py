"""Confidence intervals: coverage over a few hundred draws, flags per atom, asymmetry, refusals."""

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.pid import confidence_intervals, pid_crossed, pid_from_joint, pid_from_posteriors
from fusionscope.pid.result import ATOMS

DRAWS = 200


def binary(odds):
    p = torch.sigmoid(odds)
    return torch.stack([1 - p, p], -1)


def dominated():
    """Vision tells much, language little, and nothing that vision does not."""
    g = torch.Generator().manual_seed(0)
    return torch.softmax(
        sum(
            s * torch.randn(*shape, 2, generator=g, dtype=torch.float64)
            for s, shape in ((2.0, (4, 1)), (0.5, (1, 4)), (0.7, (4, 4)))
        ),
        -1,
    )


def crossing():
    """Vision is certain or blind, language always a little right: both have something of their own."""
    vision = torch.logit(torch.tensor([0.01, 0.5, 0.5, 0.5, 0.5, 0.99], dtype=torch.float64))
    return binary(vision[:, None] + torch.logit(torch.tensor([0.1, 0.15, 0.85, 0.9], dtype=torch.float64)))


def softened_and():
    both = 0.05 + 0.9 * (torch.arange(2)[:, None] & torch.arange(2)).double()
    return torch.stack([1 - both, both], -1)


def truth(world):
    return {name: float(x) for name, x in pid_from_joint(world / world[..., 0].numel()).atoms().items()}


def drawn(world, n, draws=DRAWS):
    g = torch.Generator().manual_seed(n)
    return (torch.randint(size, (draws, n), generator=g) for size in world.shape[:2])


def crossed(world, n):
    a, b = drawn(world, n)
    return pid_crossed(world[a[:, :, None], b[:, None]], standard_errors=True)


def paired(world, n, draws=DRAWS):
    a, b = drawn(world, n, draws)
    joint, vision, language = world[a, b], world.mean(1)[a], world.mean(0)[b]
    return pid_from_posteriors(joint, vision, language, standard_errors=True, max_tilt=0.5)


def coverage(result, world):
    true = truth(world)
    ends = confidence_intervals(result)
    return {
        name: float(((ends[name][0] <= true[name]) & (true[name] <= ends[name][1])).double().mean()) for name in ATOMS
    }


def flagged(result):
    return {name: float(result.diagnostics[f"nonregular_{name}"].mean()) for name in ATOMS}


def test_intervals_of_a_small_grid_cover_where_one_source_dominates():
    """Symmetric ones, of influence functions alone, hold the redundancy too rarely here and err on one side only."""
    result = crossed(dominated(), 32)
    covered, flags = coverage(result, dominated()), flagged(result)
    for name in ("redundancy", "unique_vision", "synergy"):
        assert 0.92 <= covered[name] <= 0.99, name
        assert flags[name] < 0.2, name
    assert flags["unique_language"] == 1  # always 0: its influence function vanishes


def test_intervals_of_samples_cover_where_both_sources_know_something_of_their_own():
    result = paired(crossing(), 600)
    covered, flags = coverage(result, crossing()), flagged(result)
    for name in ATOMS:
        assert 0.91 <= covered[name] <= 0.995, name
        assert flags[name] < 0.2, name


@pytest.mark.parametrize("design", ["crossed", "paired"])
def test_intervals_at_a_kink_are_flagged_and_cover(design):
    result = crossed(softened_and(), 48) if design == "crossed" else paired(softened_and(), 200)
    assert float(result.diagnostics["nonregular"].mean()) > 0.95
    for name, share in coverage(result, softened_and()).items():
        assert share >= 0.92, name
        assert flagged(result)[name] > 0.95, name


@pytest.mark.parametrize("scale", [1.0, 0.15])
def test_a_kink_of_many_samples_and_answers_is_found(scale):
    """Two channels of equal strength are near a kink; a channel that is far weaker is dominated."""
    g = torch.Generator().manual_seed(0)
    x1, x2 = torch.randn(2, 300, 4, generator=g, dtype=torch.float64)
    args = (torch.softmax(x, -1) for x in (x1 + scale * x2, x1, scale * x2))
    result = pid_from_posteriors(*args, standard_errors=True, max_tilt=1.0)
    assert bool(result.diagnostics["nonregular"]) == (scale == 1.0)
    assert bool(result.diagnostics["nonregular_unique_vision"]) == (scale == 1.0)


def test_an_interval_is_symmetric_in_students_quantile_where_the_standard_error_is_constant():
    """On the scale ``log(s + slope d) / slope``, by which half a slope is for the mean of the estimate."""
    result = crossed(dominated(), 24)
    low, high = confidence_intervals(result)["synergy"]
    slope, error = result.diagnostics["standard_error_slope_synergy"], result.standard_errors["synergy"]
    regular = (result.diagnostics["nonregular_synergy"] == 0) & (slope.abs() > 1e-3)
    assert regular.double().mean() > 0.9
    shift = 0.5 * slope
    up, down = (high - result.synergy) / error - shift, (result.synergy - low) / error + shift
    for distance in ((1 + slope * up).log() / slope, -(1 - slope * down).log() / slope):
        assert torch.allclose(distance[regular], torch.full_like(slope[regular], 2.0687), atol=2e-3)  # 23 degrees


def test_standard_errors_alone_suffice_where_no_atom_is_flagged():
    """Regular at the population: four answers, both sources with much of their own. No widening, no inflation."""
    g = torch.Generator().manual_seed(0)
    shapes = ((4, 1), (1, 4), (4, 4))
    world = torch.softmax(
        sum(
            s * torch.randn(*shape, 4, generator=g, dtype=torch.float64)
            for s, shape in zip((1.5, 1.5, 0.7), shapes, strict=True)
        ),
        -1,
    )
    result, true = paired(world, 600), truth(world)
    assert min(true.values()) > 0.05
    for name, bits in result.atoms().items():
        error = result.standard_errors[name]
        assert result.diagnostics[f"nonregular_{name}"].mean() < 0.05, name
        assert 0.9 <= ((bits - true[name]).abs() <= 1.96 * error).double().mean() <= 0.99, name
        assert 0.85 <= bits.std() / error.mean() <= 1.15, name


def test_flags_vanish_with_more_samples_away_from_kinks_and_stay_at_them():
    worlds = crossing(), softened_and()
    shares = [[max(flagged(paired(world, n, 60)).values()) for n in (200, 2000)] for world in worlds]
    assert shares[0][0] > 0.1
    assert shares[0][1] == 0
    assert min(shares[1]) > 0.9


def test_a_wider_level_is_wider_and_an_enumerated_design_is_exact():
    p = dominated()
    result = pid_crossed(p, standard_errors=True, images_enumerated=True, questions_enumerated=True)
    low, high = confidence_intervals(result)["synergy"]
    assert high - low < 2e-3
    some = crossed(p, 12)
    half, most = (confidence_intervals(some, level)["synergy"] for level in (0.5, 0.9))
    assert ((most[1] - most[0]) > 1.5 * (half[1] - half[0])).all()


def test_intervals_need_standard_errors_and_a_level():
    with pytest.raises(InputError, match="no standard errors"):
        confidence_intervals(pid_crossed(dominated()))
    with pytest.raises(InputError, match="level=95"):
        confidence_intervals(crossed(dominated(), 12), 95)
