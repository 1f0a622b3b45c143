import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionscope.pid.identified import programmes
from fusionscope.pid.identified.basis import chebyshev_nodes, legendre
from fusionscope.pid.identified.functions import Kinks, Mixtures, NegativeEntropy, NegativeTerm, node_values, thresholds
from fusionscope.pid.identified.programmes import BoundWithError, majorants, nearest_moments
from fusionscope.pid.information import xlogx

LIKE = torch.zeros(1, dtype=torch.float64)
GOLDEN = (
    (2, 0.261641, 0.304241),
    (3, 0.270048, 0.302277),
    (4, 0.278552, 0.295864),
    (6, 0.283834, 0.293202),
    (8, 0.286231, 0.292056),
)
FINE = torch.cat([torch.linspace(0, 1, 40_001, dtype=torch.float64), torch.logspace(-12, -3, 500, dtype=torch.float64)])


def measures(seed: int, count: int, points: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    spread = 0.5 + 4 * torch.rand(count, 1, generator=g, dtype=torch.float64)
    middle = 3 * torch.randn(count, 1, generator=g, dtype=torch.float64)
    return torch.sigmoid(middle + spread * torch.randn(count, points, generator=g, dtype=torch.float64))


def objective(m: torch.Tensor, degree: int, radius: float, clusters: int = 200) -> BoundWithError:
    z = legendre(m.flatten(), degree).unflatten(0, m.shape)
    away = z - z.mean(1, keepdim=True)
    covariance = away.mT @ away / m.shape[1] / clusters
    return BoundWithError(
        moments_BD=z.mean(1), covariance_BDD=covariance, shift_BD=torch.zeros_like(z[:, 0]), radius=radius
    )


def families(problems: int):
    pivot = torch.full((problems,), 0.5, dtype=torch.float64)
    cells = len(thresholds(LIKE)) + 1
    chosen = (torch.arange(cells) % 3 == 0).double().expand(problems, 1, cells)
    return {
        "entropy": NegativeEntropy(),
        "term": NegativeTerm(),
        "kinks": Kinks(pivot),
        "mixture": Mixtures(pivot, chosen),
    }


@pytest.mark.parametrize("name", ["entropy", "term", "kinks", "mixture"])
@pytest.mark.parametrize("upper", [True, False])
@given(seed=st.integers(0, 2**31), degree=st.integers(1, 8), radius=st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=8, deadline=None)
def test_polynomials_are_bounds_on_all_of_the_interval(
    name: str, upper: bool, seed: int, degree: int, radius: float
) -> None:
    functions = families(2)[name]
    sign = 1.0 if upper else -1.0
    f_LFG = sign * node_values(functions, 2, LIKE)
    n = f_LFG.shape[1]
    of = objective(measures(seed, 2, 50), degree, radius)
    of = BoundWithError(
        moments_BD=of.moments_BD.repeat_interleave(n, 0),
        covariance_BDD=of.covariance_BDD.repeat_interleave(n, 0),
        shift_BD=of.shift_BD.repeat_interleave(n, 0),
        radius=radius,
    )
    c_BD = majorants(of, f_LFG.flatten(0, 1), None if upper else functions.sag(LIKE).expand(2 * n))
    excess = c_BD @ legendre(FINE, degree).mT - sign * functions.at(FINE.expand(2, -1)).flatten(0, 1)
    assert float(excess.min()) > -1e-10


@pytest.mark.parametrize("rounds", [(0,), (2,), (5,)])
def test_a_solver_that_did_next_to_nothing_still_bounds(rounds: tuple[int, ...], monkeypatch) -> None:
    monkeypatch.setattr(programmes, "ROUNDS", rounds)
    of = objective(measures(0, 3, 40), 4, 1.0)
    f = node_values(NegativeEntropy(), 3, LIKE)[:, 0]
    excess = majorants(of, f) @ legendre(FINE, 4).mT - (xlogx(FINE) + xlogx(1 - FINE))
    assert float(excess.min()) > -1e-10


@pytest.mark.parametrize("degree", [2, 4, 6])
def test_bounds_meet_at_measures_that_their_moments_determine(degree: int) -> None:
    """A measure on degree / 2 points inside (0, 1) is the only one with its moments, so both ends are its own value."""
    points = chebyshev_nodes(like=LIKE)[torch.tensor([80, 140, 170])[: degree // 2]][None]
    z = legendre(points.flatten(), degree).mean(0, keepdim=True)
    f = xlogx(chebyshev_nodes(like=LIKE)) + xlogx(1 - chebyshev_nodes(like=LIKE))
    zeros = torch.zeros(1, degree + 1, degree + 1, dtype=torch.float64)
    of = BoundWithError(moments_BD=z, covariance_BDD=zeros, shift_BD=torch.zeros_like(z), radius=0.0)
    truth = float((xlogx(points) + xlogx(1 - points)).mean())
    high = float((majorants(of, f[None]) * z).sum())
    low = -float((majorants(of, -f[None], NegativeEntropy().sag(LIKE).expand(1)) * z).sum())
    assert low <= truth <= high
    assert high - low < 2e-3


def test_bounds_equal_the_linear_programme_of_another_solver() -> None:
    """Golden values of scipy 1.17 (HiGHS) on the 257 nodes, sigmoid(3 x - 2) of 400 normal quantiles, t = 1/2."""
    quantiles = torch.special.ndtri((torch.arange(400, dtype=torch.float64) + 0.5) / 400)
    m = torch.sigmoid(3 * quantiles - 2)
    f = (0.5 - chebyshev_nodes(like=LIKE)).clamp(min=0)
    for degree, low, high in GOLDEN:
        z = legendre(m, degree).mean(0, keepdim=True)
        zeros = torch.zeros(1, degree + 1, degree + 1, dtype=torch.float64)
        of = BoundWithError(moments_BD=z, covariance_BDD=zeros, shift_BD=torch.zeros_like(z), radius=0.0)
        assert float((majorants(of, f[None]) * z).sum()) == pytest.approx(high, abs=3e-4)
        assert -float((majorants(of, -f[None], LIKE) * z).sum()) == pytest.approx(low, abs=3e-4)


@given(seed=st.integers(0, 2**31), degree=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_moments_of_a_measure_stay(seed: int, degree: int) -> None:
    of = objective(measures(seed, 3, 60), degree, 1.0)
    covariance = of.covariance_BDD + 1e-9 * torch.eye(degree + 1, dtype=torch.float64)
    away = (nearest_moments(of.moments_BD, covariance) - of.moments_BD)[..., None]
    standard_errors = (away.mT @ torch.linalg.solve(covariance, away)).sqrt()
    assert float(standard_errors.max()) < 0.1


def test_moments_of_no_measure_move_to_one() -> None:
    """E m = .5 and E m^2 = .2 < .25: the nearest in a metric that fixes the mean is the point mass."""
    z = torch.tensor([[1.0, 0.0, 6 * 0.2 - 6 * 0.5 + 1]], dtype=torch.float64)
    covariance = torch.diag(torch.tensor([0.0, 1e-9, 1e-2], dtype=torch.float64))[None]
    nearest = nearest_moments(z, covariance)
    torch.testing.assert_close(nearest, torch.tensor([[1.0, 0.0, -0.5]], dtype=torch.float64), rtol=0, atol=1e-4)
