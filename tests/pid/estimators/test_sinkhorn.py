"""The vectorised, differentiable Sinkhorn scaling against the plain loop."""

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.pid.estimators._sinkhorn import balance_masses, sinkhorn

ROUNDS = [1, 2, 7, 60]


def _problem(balanced: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    rows = torch.rand(3, 4, generator=generator, dtype=torch.float64)
    columns = torch.rand(3, 5, generator=generator, dtype=torch.float64)
    return scores, *(balance_masses(rows, columns) if balanced else (rows, columns))


def _plain(a: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, rounds: int, tolerance: float) -> torch.Tensor:
    done = []
    for matrix, r, c in zip(a, rows, columns, strict=True):
        for _ in range(rounds):
            matrix = matrix / matrix.sum(0, keepdim=True) * c
            if (matrix.sum(1) - r).abs().max() <= tolerance:
                break
            matrix = matrix / matrix.sum(1, keepdim=True) * r[:, None]
            if (matrix.sum(0) - c).abs().max() <= tolerance:
                break
        done.append(matrix)
    return torch.stack(done)


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("rounds", ROUNDS)
def test_values_and_gradients_equal_the_plain_loop(balanced: bool, rounds: int) -> None:
    scores, rows, columns = _problem(balanced)
    weight = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    ours, _ = sinkhorn(scores.exp(), rows, columns, rounds=rounds, tolerance=0.02)
    plain = _plain(scores.exp(), rows, columns, rounds, 0.02)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-13)
    ours_gradient = torch.autograd.grad((ours * weight).sum(), scores)[0]
    torch.testing.assert_close(
        ours_gradient, torch.autograd.grad((plain * weight).sum(), scores)[0], atol=1e-12, rtol=0
    )


def test_balanced_problems_stop_and_unequal_masses_do_not() -> None:
    scores, rows, columns = _problem(balanced=True)
    assert sinkhorn(scores.exp(), rows, columns, rounds=100)[1].all()
    assert not sinkhorn(scores.exp(), rows, 1.5 * columns, rounds=100)[1].any()


def test_unequal_masses_neither_overflow_nor_underflow_in_single_precision() -> None:
    a = torch.ones(1, 3, 3, requires_grad=True)
    scaled, _ = sinkhorn(a, torch.full((1, 3), 0.9), torch.full((1, 3), 0.4), rounds=500, tolerance=0.0)
    (scaled.square().sum()).backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(scaled).all()
    assert torch.isfinite(a.grad).all()


def test_a_label_without_mass_gives_zeros() -> None:
    a = torch.ones(1, 2, 2, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, 2, dtype=torch.float64)
    scaled, _ = sinkhorn(a, *balance_masses(zero, zero))
    scaled.sum().backward()
    assert not scaled.any()
    assert torch.isfinite(a.grad).all()


def test_no_rounds_is_an_error() -> None:
    with pytest.raises(InputError, match="rounds=0"):
        sinkhorn(torch.ones(1, 2, 2), torch.ones(1, 2), torch.ones(1, 2), rounds=0)
