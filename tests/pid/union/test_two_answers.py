"""The closed form for two answers, against a convex hull drawn by hand and against the general solver."""

import math
from itertools import pairwise

import pytest
import torch

from fusionscope.pid.union.interior_point import solve_many_answers
from fusionscope.pid.union.two_answers import solve_two_answers


def masses(a, b, seed, zeros=False):
    g = torch.Generator().manual_seed(seed)
    p = torch.rand(a, b, 2, generator=g, dtype=torch.float64) ** 3
    if zeros:
        p[torch.rand(a, b, 2, generator=g) < 0.5] = 0
        p[0, 0] = 0.1
    p = p / p.sum()
    return p.sum(1), p.sum(0)


def hull_value(*sources):
    """Minus the conditional entropy of the channel under the upper hull of the ROC points, by monotone chain."""
    points = [(0.0, 0.0)]
    for source in sources:
        rows = sorted(source.tolist(), key=lambda m: -math.atan2(m[1], m[0]))
        u = v = 0.0
        for m0, m1 in rows:
            u, v = u + m0, v + m1
            points.append((u, v))
    hull = []
    for x, y in sorted(points):
        while len(hull) > 1 and (hull[-1][0] - hull[-2][0]) * (y - hull[-2][1]) >= (
            (hull[-1][1] - hull[-2][1]) * (x - hull[-2][0])
        ):
            hull.pop()
        hull.append((x, y))
    value = 0.0
    for (x0, y0), (x1, y1) in pairwise(hull):
        du, dv = max(x1 - x0, 0.0), max(y1 - y0, 0.0)
        value += sum(m * math.log(m / (du + dv)) for m in (du, dv) if m > 0)
    return value


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_is_the_information_under_the_hull(seed, zeros):
    p1, p2 = masses(2 + seed, 3 + seed // 2, seed, zeros)
    value, _, _ = solve_two_answers(p1[None], p2[None])
    assert abs(float(value) - hull_value(p1, p2)) < 1e-12


def test_lies_within_the_general_solvers_bounds():
    pairs = [masses(6, 4, seed) for seed in range(32)]
    p1, p2 = torch.stack([p for p, _ in pairs]), torch.stack([p for _, p in pairs])
    value, _, _ = solve_two_answers(p1, p2)
    found, _ = solve_many_answers(p1.mT.contiguous(), p2.mT.contiguous(), 1e-9)
    assert (value >= found.lower_n - 1e-12).all()
    assert (value <= found.upper_n + 1e-12).all()


@pytest.mark.parametrize("zeros", [False, True])
def test_its_dual_is_feasible_and_attains_the_value(zeros):
    for seed in range(8):
        p1, p2 = masses(7, 5, seed, zeros)
        value, f, g = solve_two_answers(p1[None], p2[None])
        assert (f[0, :, None] + g[0, None]).exp().sum(-1).max() <= 1 + 1e-12
        assert abs(float((f * p1).sum() + (g * p2).sum() - value)) < 1e-12


def test_ties_are_shared_so_that_swapping_swaps():
    p1, _ = masses(5, 5, 0)
    _, f, g = solve_two_answers(p1[None], p1[None])
    assert torch.equal(f, g)


def test_thousands_of_points_in_no_time():
    g = torch.Generator().manual_seed(0)
    t = torch.rand(2, 33, 4096, generator=g, dtype=torch.float64)
    t[1] *= (t[0].mean(1) / t[1].mean(1))[:, None] * 0.5
    t[0] *= 0.5
    p1, p2 = (torch.stack([x, 1 - x], -1) / 4096 for x in t)
    p2 = p2 * (p1.sum(1) / p2.sum(1))[:, None]
    value, _, _ = solve_two_answers(p1, p2)
    assert torch.isfinite(value).all()
