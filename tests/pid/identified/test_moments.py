import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionscope.pid.identified.basis import from_monomials
from fusionscope.pid.identified.moments import COMPLETE, repeats


def draws(seed: int, n: int) -> torch.Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def monomials(of, row_mean_of: slice = slice(None)) -> torch.Tensor:
    """Estimates of 1, m, m^2, ... from the mean over some rows."""
    back = torch.linalg.inv(from_monomials(of.moments_LNKD.shape[-1] - 1, like=of.moments_LNKD))
    return (of.moments_LNKD[0, row_mean_of, 0] @ back.T).mean(0)


def of_one_object(p: torch.Tensor, **options):
    n = len(p)
    weights = torch.full((n,), 1 / n, dtype=torch.float64)
    return repeats(p.reshape(1, n, 1), torch.zeros(n, dtype=torch.int64), weights, **options)


@given(seed=st.integers(0, 2**31), n=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_products_of_different_draws_are_averaged(seed: int, n: int) -> None:
    p = draws(seed, n)
    source = of_one_object(p)
    degree = int(source.degree_N[0])
    for k, value in enumerate(monomials(source)[: degree + 1]):
        products = [math.prod(p[i] for i in chosen) for chosen in itertools.combinations(range(n), k)]
        assert value == pytest.approx(float(sum(products) / len(products)), abs=1e-10)


@pytest.mark.parametrize(("size", "drawn"), [(3, 2), (4, 2), (5, 3), (6, 4)])
def test_sampling_without_replacement_is_unbiased(size: int, drawn: int) -> None:
    population = draws(7, size)
    total = []
    for subset in itertools.combinations(range(size), drawn):
        sizes = torch.full((drawn,), float(size), dtype=torch.float64)
        total.append(monomials(of_one_object(population[list(subset)], size_N=sizes)))
    expected = population.mean() ** torch.arange(drawn + 1)
    torch.testing.assert_close(torch.stack(total).mean(0)[: drawn + 1], expected, rtol=0, atol=1e-12)


def test_a_whole_list_is_known() -> None:
    p = draws(3, 3)
    source = of_one_object(p, size_N=torch.full((3,), 3.0, dtype=torch.float64))
    assert source.degree_N.tolist() == [COMPLETE] * 3
    torch.testing.assert_close(source.mean_LOK[0, 0, 0], p.mean())


def test_strata_are_unbiased_over_all_draws_within_them() -> None:
    first, second = draws(1, 4), draws(2, 3)
    total = []
    for chosen in itertools.combinations(range(4), 2):
        for others in itertools.combinations(range(3), 2):
            p = torch.cat([first[list(chosen)], second[list(others)]])
            sizes = torch.tensor([4.0, 4.0, 3.0, 3.0], dtype=torch.float64)
            total.append(monomials(of_one_object(p, stratum_N=torch.tensor([0, 0, 1, 1]), size_N=sizes)))
    m = 0.5 * (first.mean() + second.mean())
    torch.testing.assert_close(torch.stack(total).mean(0)[:3], m ** torch.arange(3), rtol=0, atol=1e-12)


def test_pooling_strata_as_if_exchangeable_would_be_biased() -> None:
    p = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    apart = monomials(of_one_object(p, stratum_N=torch.tensor([0, 0, 1, 1])))
    together = monomials(of_one_object(p))
    assert float(apart[2]) == pytest.approx(0.25)
    assert float(together[2]) == pytest.approx(1 / 6)


@pytest.mark.parametrize("strata", [False, True])
def test_rows_carry_the_derivative_in_their_own_weight(strata: bool) -> None:
    """A row's part beyond its object's estimate: the derivative in its weight of a fifth, times five rows."""
    p = draws(11, 5)
    stratum = torch.tensor([0, 0, 0, 1, 1]) if strata else torch.zeros(5, dtype=torch.int64)
    weights = torch.full((5,), 0.2, dtype=torch.float64)

    def estimate(weights: torch.Tensor) -> torch.Tensor:
        rows = repeats(p.reshape(1, 5, 1), torch.zeros(5, dtype=torch.int64), weights, stratum_N=stratum).moments_LNKD
        return (rows * weights[:, None, None]).sum(1)[0, 0] / weights.sum()

    rows = repeats(p.reshape(1, 5, 1), torch.zeros(5, dtype=torch.int64), weights, stratum_N=stratum).moments_LNKD[
        0, :, 0
    ]
    step = 1e-6
    for i in range(5):
        changed = weights.clone()
        changed[i] += step
        if strata:  # the stratum's part in the law stays
            in_stratum = stratum == stratum[i]
            changed[in_stratum] *= weights[in_stratum].sum() / changed[in_stratum].sum()
        slope = (estimate(changed) - estimate(weights)) / step
        torch.testing.assert_close(rows[i] - rows.mean(0), slope, rtol=1e-3, atol=2e-4)
