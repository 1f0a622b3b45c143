"""The Gaussian PID against closed forms, another solver's optimum, and its own certificate."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.pid import GaussianPID
from fusionscope.pid.estimators._gaussian_channel import log_determinant_bias, principal_components, shrunk_correlation
from fusionscope.pid.estimators._gaussian_union import solve_union


def random_covariance(seed: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size + 2, generator=generator, dtype=torch.float64)
    return root @ root.T


def channels(seed: int, r1: int, r2: int, y: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(r, y, generator=generator, dtype=torch.float64) for r in (r1, r2))  # type: ignore[return-value]


def information(h1: Tensor, h2: Tensor, s: Tensor) -> Tensor:
    """Nats, by the definition."""
    h = torch.cat([h1, h2])
    noise = torch.cat([torch.cat([torch.eye(len(h1)), s], 1), torch.cat([s.T, torch.eye(len(h2))], 1)])
    return (torch.logdet(noise.double() + h @ h.T) - torch.logdet(noise.double())) / 2


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), d1=st.integers(1, 4), d2=st.integers(1, 4))
def test_a_scalar_target_gives_the_smaller_information(seed: int, d1: int, d2: int) -> None:
    result = GaussianPID().from_covariance(random_covariance(seed, d1 + d2 + 1), sizes=(d1, d2, 1))
    smaller = min(float(result.information_vision), float(result.information_language))
    assert float(result.redundancy) == pytest.approx(smaller, abs=1e-6)
    assert result.converged


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), d1=st.integers(1, 4), d2=st.integers(1, 4), dy=st.integers(1, 4))
def test_identities_signs_and_swap(seed: int, d1: int, d2: int, dy: int) -> None:
    covariance = random_covariance(seed, d1 + d2 + dy)
    result = GaussianPID().from_covariance(covariance, sizes=(d1, d2, dy))
    atoms = {name: float(value) for name, value in result.atoms().items()}
    assert sum(atoms.values()) == pytest.approx(float(result.total), abs=1e-9)
    assert atoms["redundancy"] + atoms["unique_vision"] == pytest.approx(float(result.information_vision), abs=1e-9)
    assert min(atoms.values()) > -1e-6
    assert float(result.union_upper - result.union_lower) <= 1e-7
    order = [*range(d1, d1 + d2), *range(d1), *range(d1 + d2, d1 + d2 + dy)]
    swapped = GaussianPID().from_covariance(covariance[order][:, order], sizes=(d2, d1, dy))
    assert float(swapped.unique_language) == pytest.approx(atoms["unique_vision"], abs=1e-6)
    assert float(swapped.synergy) == pytest.approx(atoms["synergy"], abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_no_other_noise_correlation_undercuts_the_lower_bound(seed: int) -> None:
    h1, h2 = channels(seed, 3, 4, 4)
    union = solve_union(h1, h2, tolerance=1e-8)
    assert float(information(h1, h2, union.correlation)) == pytest.approx(union.upper, abs=1e-9)
    free = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=300, tolerance_change=1e-14, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        # Any real matrix maps into the spectral ball.
        value = information(h1, h2, _squashed(free))
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    reached = float(information(h1, h2, _squashed(free.detach())))
    assert reached >= union.lower - 1e-10
    assert reached == pytest.approx(union.upper, abs=1e-5)


def _squashed(a: Tensor) -> Tensor:
    factor = torch.linalg.cholesky(torch.eye(a.shape[1], dtype=a.dtype) + a.T @ a)
    return torch.linalg.solve_triangular(factor, a.T, upper=False).T


def test_optimum_at_the_boundary_is_certified() -> None:
    h1, _ = channels(1, 5, 5, 5)
    union = solve_union(h1, h1, tolerance=1e-7)
    alone = float(torch.logdet(torch.eye(5).double() + h1.T @ h1)) / 2
    assert union.lower <= alone + 1e-12
    assert union.lower == pytest.approx(alone, abs=1e-7)
    assert union.upper == pytest.approx(alone, abs=1e-7)


def test_uninformative_source_and_private_parts() -> None:
    covariance = torch.eye(5, dtype=torch.float64)
    covariance[0, 3] = covariance[3, 0] = covariance[1, 4] = covariance[4, 1] = 0.8
    private = GaussianPID().from_covariance(covariance, sizes=(1, 1 + 1, 2))
    each = -0.5 * math.log2(1 - 0.64)
    assert float(private.unique_vision) == pytest.approx(each, abs=1e-6)
    assert float(private.unique_language) == pytest.approx(each, abs=1e-6)
    assert float(private.redundancy) == pytest.approx(0, abs=1e-6)
    covariance[1, 4] = covariance[4, 1] = 0
    deaf = GaussianPID().from_covariance(covariance, sizes=(1, 2, 2))
    assert float(deaf.diagnostics["informative_language"]) == 0
    assert float(deaf.unique_vision) == pytest.approx(each, abs=1e-9)
    assert deaf.converged


def test_hundreds_of_dimensions_and_layers() -> None:
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(3000, 4, generator=generator)
    layers = [signal @ torch.randn(4, 200, generator=generator) for _ in range(2)]
    vision = torch.stack(layers) + torch.randn(2, 3000, 200, generator=generator)
    language = signal[:, :2] @ torch.randn(2, 150, generator=generator) + torch.randn(3000, 150, generator=generator)
    target = signal + 0.5 * torch.randn(3000, 4, generator=generator)
    result = GaussianPID().estimate(vision, language, target)
    assert result.synergy.shape == (2,)
    assert result.converged.all()
    assert (result.unique_vision > 1).all()
    narrow = GaussianPID(components_vision=10, components_language=10).estimate(vision, language, target)
    assert (narrow.diagnostics["variance_kept_vision"] > 0.5).all()
    # Fewer numbers per source: less overfitted synergy.
    assert (narrow.synergy < result.synergy).all()


def test_bias_correction_centres_the_informations() -> None:
    generator = torch.Generator().manual_seed(2)
    draws = torch.randn(80, 40, 11, generator=generator, dtype=torch.float64)
    target = draws[..., :1] + draws[..., 10:]
    plain = GaussianPID(tolerance=0.1).estimate(draws[..., :5], draws[..., 5:10], target)
    corrected = GaussianPID(tolerance=0.1, bias_correction=True).estimate(draws[..., :5], draws[..., 5:10], target)
    for field, truth in (("total", 0.5), ("information_vision", 0.5), ("information_language", 0.0)):
        mean, error = getattr(corrected, field).mean(), getattr(corrected, field).std() / math.sqrt(80)
        assert abs(float(mean) - truth) < 4 * float(error)
        assert float(getattr(plain, field).mean()) > truth + 0.05


def informative(n: int, seed: int, d: int = 15, strength: float = 0.8) -> tuple[Tensor, Tensor, Tensor]:
    """Two sources of d numbers that inform about three."""
    g = torch.Generator().manual_seed(0)
    first, second = strength / math.sqrt(d) * torch.randn(2, 3, d, generator=g, dtype=torch.float64)
    draw = torch.Generator().manual_seed(seed)
    target = torch.randn(n, 3, generator=draw, dtype=torch.float64)
    noise = torch.randn(2, n, d, generator=draw, dtype=torch.float64)
    return target @ first + noise[0], target @ second + noise[1], target


def test_atoms_are_corrected_off_the_null_and_their_errors_are_their_spread() -> None:
    """Scaling the union by the total's ratio leaves a third of the bias of redundancy and synergy."""
    truth = GaussianPID(tolerance=1e-4).estimate(*informative(40000, 0))
    estimator = GaussianPID(tolerance=1e-3, bias_correction=True, standard_errors=True)
    layers = [torch.stack(parts) for parts in zip(*(informative(150, seed) for seed in range(1, 13)), strict=True)]
    result = estimator.estimate(layers[0], layers[1], layers[2])
    plain = GaussianPID(tolerance=1e-3).estimate(layers[0], layers[1], layers[2])
    for name in ("redundancy", "synergy"):
        left, bias = (float(getattr(x, name).mean() - getattr(truth, name)) for x in (result, plain))
        assert bias > 0.1, name
        assert abs(left) < 0.35 * bias, name
        assert 0.5 < float(result.standard_errors[name].mean() / getattr(result, name).std()) < 1.8, name
    assert (result.diagnostics["few_samples"] == 1).all()
    assert GaussianPID(tolerance=0.1).estimate(*informative(400, 0)).diagnostics["few_samples"] == 0


def test_a_permutation_null_finds_what_informs_and_not_what_does_not() -> None:
    vision, language, target = informative(80, 1, d=4)
    informed = GaussianPID(tolerance=1e-2).permutation_null(vision, language, target, n_replicates=30)
    nothing = GaussianPID(tolerance=1e-2).permutation_null(vision, language, informative(80, 2)[2], n_replicates=30)
    assert informed["total"] < 0.05
    assert nothing["total"] > 0.05


def test_log_determinant_bias_is_that_of_wishart_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(20000, 12, 3, generator=generator, dtype=torch.float64)
    z = z - z.mean(1, keepdim=True)
    measured = torch.logdet(z.mT @ z / 11)
    assert float(measured.mean()) == pytest.approx(
        log_determinant_bias(3, 11), abs=4 * float(measured.std()) / math.sqrt(20000)
    )


def test_shrinkage_makes_few_samples_possible_and_ledoit_wolf_fades() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 50, generator=generator, dtype=torch.float64)
    arguments = (x[:, :25], x[:, 25:], x[:, :1] + torch.randn(40, 1, generator=generator))
    with pytest.raises(InputError, match=r"singular[\s\S]*shrinkage > 0"):
        GaussianPID().estimate(*arguments)
    result = GaussianPID(shrinkage="ledoit_wolf").estimate(*arguments)
    assert 0.3 < float(result.diagnostics["shrinkage"]) <= 1
    many = (
        torch.randn(20000, 2, generator=generator, dtype=torch.float64) @ torch.tensor([[1.0, 0.9], [0, 0.4]]).double()
    )
    assert shrunk_correlation(many - many.mean(0), "ledoit_wolf")[1] < 1e-3


def test_bad_inputs_are_named() -> None:
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    estimator = GaussianPID()
    with pytest.raises(InputError, match=r"language has shape \(20,\)"):
        estimator.estimate(x, x[:, 0], x)
    with pytest.raises(InputError, match=r"'target': 19"):
        estimator.estimate(x, x, x[:19])
    with pytest.raises(InputError, match="vision holds a NaN"):
        estimator.estimate(x / 0, x, x)
    with pytest.raises(InputError, match="1 of 6 variables are constant"):
        estimator.estimate(x, x + torch.rand(20, 2), torch.stack([x[:, 0], torch.zeros(20)], 1))
    with pytest.raises(InputError, match="components_vision=3"):
        GaussianPID(components_vision=3).estimate(x, x, x)
    with pytest.raises(InputError, match="shrinkage=1"):
        GaussianPID(shrinkage=1)
    with pytest.raises(InputError, match=r"bias_correction=True with shrinkage=0\.1"):
        GaussianPID(bias_correction=True, shrinkage=0.1)
    with pytest.raises(InputError, match=r"standard_errors=True with shrinkage=0\.1"):
        GaussianPID(standard_errors=True, shrinkage=0.1)
    with pytest.raises(InputError, match="n_replicates=1"):
        GaussianPID(n_replicates=1)
    with pytest.raises(InputError, match="n=None"):
        GaussianPID(bias_correction=True).from_covariance(random_covariance(0, 3), sizes=(1, 1, 1))
    with pytest.raises(InputError, match=r"sizes=\(1, 1, 2\)"):
        estimator.from_covariance(random_covariance(0, 3), sizes=(1, 1, 2))
    with pytest.raises(InputError, match="covariance has a diagonal from -1 and"):
        estimator.from_covariance(-torch.eye(3), sizes=(1, 1, 1))
    with pytest.raises(InputError, match="target is a list"):
        estimator.estimate(x, x, x.tolist())  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"leading dimensions: .*'language': \(3,\)"):
        estimator.estimate(x.expand(2, 20, 2), x.expand(3, 20, 2), x)


@pytest.mark.parametrize(("n", "d"), [(40, 9), (20, 60)])
def test_principal_components_are_those_of_the_singular_values(n, d):
    g = torch.Generator().manual_seed(n)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    found, kept = principal_components(x, 4, "vision")
    u, s, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    torch.testing.assert_close(found.abs(), (u[:, :4] * s[:4]).abs(), atol=1e-9, rtol=0)
    assert kept == pytest.approx(float(s[:4].square().sum() / s.square().sum()))


@pytest.mark.parametrize("d", [5, 50])
def test_components_without_variance_are_refused(d):
    """Three questions span two directions: a third component would be rounding, and informative by chance."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3, d, generator=g, dtype=torch.float64)[torch.arange(30) % 3]
    with pytest.raises(InputError, match="the samples vary in 2 directions only"):
        principal_components(x, 3, "language")
    with pytest.raises(InputError, match="vary in 0 directions"):
        principal_components(torch.ones(30, d, dtype=torch.float64), 1, "language")
