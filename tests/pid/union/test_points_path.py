"""The interior-point method on points: what a device of its own is asked, and that asking rarely changes nothing."""

import pytest
import torch

from fusionscope.pid import device
from fusionscope.pid.tilt import tilt
from fusionscope.pid.union import points_path
from fusionscope.pid.union.points_path import solve_points

TOLERANCE = 2e-3


def sources(n, k, scale):
    """Masses of two sources with one marginal of the answer."""
    g = torch.Generator().manual_seed(n)
    flat, w = (torch.full((1, m), 1.0 / m, dtype=torch.float64) for m in (k, n))
    rows = torch.softmax(scale * torch.randn(2, 1, n, k, generator=g, dtype=torch.float64), -1)
    first, second = (tilt(p, w, flat)[0] / n for p in rows)
    return first, second * (first.sum(1) / second.sum(1))[:, None]


@pytest.mark.parametrize(("n", "k", "scale"), [(100, 4, 1.0), (100, 3, 6.0), (80, 3, 20.0)])
def test_a_device_that_is_asked_rarely_finds_the_same(n, k, scale, monkeypatch):
    args = sources(n, k, scale)
    often = solve_points(*args, TOLERANCE)
    monkeypatch.setattr(device, "is_remote", lambda x: True)
    rarely = solve_points(*args, TOLERANCE)
    for lower, upper, *_ in (often, rarely):
        assert upper - lower <= TOLERANCE
    assert max(often[0], rarely[0]) <= min(often[1], rarely[1])


def test_problems_of_a_batch_are_solved_as_they_are_alone():
    """Though each takes other steps and leaves when it is solved."""
    pieces = [sources(90, 4, scale) for scale in (0.5, 2.0, 12.0)]
    alone = [solve_points(*args, TOLERANCE) for args in pieces]
    together = solve_points(*(torch.cat(parts) for parts in zip(*pieces, strict=True)), TOLERANCE)
    assert len(set(together[4].tolist())) > 1
    for i, (lower, upper, *_, steps) in enumerate(alone):
        assert upper - lower <= TOLERANCE
        assert steps == together[4][i]
        torch.testing.assert_close(together[0][i : i + 1], lower, atol=1e-6, rtol=0)
        torch.testing.assert_close(together[1][i : i + 1], upper, atol=1e-6, rtol=0)
        assert (together[2][i, :, None] + together[3][i]).exp().sum(-1).max() <= 1 + 1e-12


def test_no_value_leaves_the_device_within_a_step(monkeypatch):
    args = sources(100, 4, 2.0)
    monkeypatch.setattr(device, "is_remote", lambda x: True)
    step, steps = points_path._Path.step, []

    def watched(*arguments):
        with monkeypatch.context() as inner:
            for name in ("__bool__", "__float__", "__int__", "__index__", "item", "tolist", "nonzero"):
                inner.setattr(torch.Tensor, name, lambda *_, of=name: pytest.fail(f"{of} within a step"))
            steps.append(1)
            return step(*arguments)

    monkeypatch.setattr(points_path._Path, "step", watched)
    lower, upper, *_ = solve_points(*args, TOLERANCE)
    assert upper - lower <= TOLERANCE
    assert len(steps) > 5
