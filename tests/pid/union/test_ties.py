"""Points with the same posterior are solved as one, without loss."""

import pytest
import torch

from fusionscope.pid import pid_from_posteriors
from fusionscope.pid.union.solve import solve_union
from fusionscope.pid.union.ties import distinct


def drawn(types, n, k, seed=0):
    """Masses of n points of a few posteriors, and which they have."""
    g = torch.Generator().manual_seed(seed)
    rows = torch.softmax(torch.randn(types, k, generator=g, dtype=torch.float64), -1)
    of = torch.randint(types, (2, n), generator=g)
    mass = torch.rand(2, n, 1, generator=g, dtype=torch.float64)
    return rows[of] * mass / mass.sum(1, keepdim=True), of


def test_distinct_posteriors_are_told_apart_whatever_their_mass():
    p, of = drawn(7, 60, 3)
    found, m = distinct(p)
    assert m == 7
    assert torch.equal(found[:, :, None] == found[:, None], of[:, :, None] == of[:, None])


@pytest.mark.parametrize("one", [False, True])
def test_ties_change_neither_value_nor_gradient(one):
    """The same problem with ties and with points moved a little apart, so that they are none."""
    p, _ = drawn(5, 24, 3)
    q, _ = drawn(4, 20, 3, seed=1) if one else drawn(20, 20, 3, seed=1)
    q = q * (p.sum(1) / q.sum(1))[:, None]
    noise = 1 + 1e-7 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    apart = p * noise * (p.sum(1) / (p * noise).sum(1))[:, None]
    tied, loose = solve_union(p, q, 1e-9), solve_union(apart, q, 1e-9)
    assert (tied.upper_L - tied.lower_L).max() <= 1e-9
    assert (tied.value_L - loose.value_L).abs().max() < 1e-6
    rows = (tied.f_LAK[:, :, None].exp() * tied.g_LBK[:, None].exp()).sum(-1)
    assert tied.f_LAK.shape == p.shape
    assert rows.max() <= 1 + 1e-9
    value = (tied.f_LAK * p).sum((1, 2)) + (tied.g_LBK * q).sum((1, 2))
    entropy = -(p.sum(1) * p.sum(1).log()).sum(-1)
    assert (value + entropy - tied.lower_L).abs().max() < 1e-12


def test_many_samples_of_a_few_types_are_exact():
    g = torch.Generator().manual_seed(0)
    world = torch.softmax(torch.randn(4, 5, 3, generator=g, dtype=torch.float64), -1)
    a, b = (torch.randint(size, (500,), generator=g) for size in (4, 5))
    args = world[a, b], world.mean(1)[a], world.mean(0)[b]
    result = pid_from_posteriors(*args, max_tilt=0.5)
    assert result.union_upper - result.union_lower <= 1e-6
