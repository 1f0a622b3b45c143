"""Paired posteriors: the joint they come from, consistency, many samples, standard errors."""

import pytest
import torch

from fusionscope.errors import ConfigError, InputError, UnknownNameError
from fusionscope.pid import bootstrap_posteriors, pid_from_joint, pid_from_posteriors
from fusionscope.pid.information import information_about_answer
from fusionscope.pid.tilt import tilt
from fusionscope.pid.union.cells import merge
from fusionscope.pid.union.interior_point import solve_many_answers
from fusionscope.pid.union.points_path import solve_points
from fusionscope.pid.union.solve import solve_union_of_points


def rows(n, k, seed, scale=1.0, leading=()):
    g = torch.Generator().manual_seed(seed)
    return torch.softmax(scale * torch.randn(*leading, n, k, generator=g, dtype=torch.float64), -1)


def sources(n, k, scale, seed=0):
    """Masses of two sources with one marginal of the answer."""
    flat = torch.full((1, k), 1.0 / k, dtype=torch.float64)
    w = torch.full((1, n), 1.0 / n, dtype=torch.float64)
    first, second = (tilt(rows(n, k, seed + i, scale)[None], w, flat)[0] / n for i in range(2))
    return first, second * (first.sum(1) / second.sum(1))[:, None]


def from_joint(p):
    """Every cell of a joint as a sample, weighted by its mass."""
    w = p.sum(-1).flatten()
    joint = (p / p.sum(-1, keepdim=True)).flatten(0, 1)
    first, second = p.sum(1), p.sum(0)
    vision = (first / first.sum(-1, keepdim=True))[:, None].expand_as(p).flatten(0, 1)
    language = (second / second.sum(-1, keepdim=True))[None].expand_as(p).flatten(0, 1)
    return joint, vision, language, w


@pytest.mark.parametrize("shape", [(3, 4, 2), (4, 3, 4)])
def test_equals_the_joint_they_come_from(shape):
    g = torch.Generator().manual_seed(0)
    p = torch.rand(shape, generator=g, dtype=torch.float64)
    p = p / p.sum()
    result, joint = pid_from_posteriors(*from_joint(p)), pid_from_joint(p)
    for name, bits in joint.atoms().items():
        assert abs(result.atoms()[name] - bits) < 1e-6, name
    assert result.diagnostics["marginal_mismatch"] < 1e-12


@pytest.mark.parametrize(("n", "k"), [(40, 3), (200, 2), (100, 3)])
def test_swapping_the_sources_swaps_the_result_to_the_last_bit(n, k):
    joint, vision, language = rows(n, k, 0), rows(n, k, 1), rows(n, k, 2)
    result = pid_from_posteriors(joint, vision, language)
    swapped = pid_from_posteriors(joint, language, vision)
    assert float(result.diagnostics["marginal_mismatch"]) > 0.01
    assert torch.equal(result.unique_vision, swapped.unique_language)
    assert torch.equal(result.synergy, swapped.synergy)


def test_tilt_reaches_the_marginal_and_says_what_it_changed():
    p, w = rows(30, 4, 0)[None], torch.full((1, 30), 1 / 30, dtype=torch.float64)
    target = torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64)
    tilted, change, solved = tilt(p, w, target)
    assert bool(solved)
    assert ((tilted * w[..., None]).sum(1) - target).abs().max() < 1e-9
    ratio = (tilted / p).log()
    assert (ratio - ratio.mean(-1, keepdim=True)).std(1).max() < 1e-9  # one tilt for all samples
    assert abs(float(change) - 0.5 * float((tilted - p).abs().sum(-1).mean())) < 1e-12


def test_no_tilt_of_one_hot_rows_is_unsolved_with_the_reason():
    eye = torch.eye(2, dtype=torch.float64)
    result = pid_from_posteriors(rows(4, 2, 0), eye[[0, 0, 0, 1]], rows(4, 2, 0))
    assert torch.isnan(result.synergy)
    assert result.diagnostics["unsolved"] == 1
    assert not bool(result.converged)


def test_a_tilt_over_the_cap_is_unsolved():
    biased = torch.softmax(rows(30, 3, 1).log() + torch.tensor([1.0, 0, 0], dtype=torch.float64), -1)
    args = (rows(30, 3, 0), biased, rows(30, 3, 2))
    assert pid_from_posteriors(*args).diagnostics["unsolved"] == 2
    assert torch.isnan(pid_from_posteriors(*args).redundancy)
    free = pid_from_posteriors(*args, max_tilt=1.0)
    assert free.diagnostics["unsolved"] == 0
    assert free.diagnostics["marginal_mismatch_vision"] > 0.1


def test_faithful_mode_keeps_the_papers_arithmetic():
    biased = torch.softmax(rows(50, 3, 1).log() + torch.tensor([1.0, 0, 0], dtype=torch.float64), -1)
    joint = rows(50, 3, 0)
    result = pid_from_posteriors(joint, biased, rows(50, 3, 2), estimator="faithful")
    cross = (biased * (biased / joint.mean(0)).log2()).sum(-1).mean()
    assert abs(result.information_vision - cross) < 1e-12
    assert abs(sum(result.atoms().values()) - result.total) < 1e-12
    swapped = pid_from_posteriors(joint, rows(50, 3, 2), biased, estimator="faithful")
    assert torch.equal(result.unique_vision, swapped.unique_language)


@pytest.mark.parametrize("power", [4, 40, 400])
def test_faithful_mode_of_near_deterministic_rows_is_solved(power):
    """Masked posteriors of a confident model: masses of 1e-10 to 1e-300 beside uniform rows."""
    joint, vision, language = (torch.softmax(power * rows(150, 4, i, 2.0), -1) for i in range(3))
    vision[:60] = 0.25
    language[:, 2] *= 0.05
    language = language / language.sum(-1, keepdim=True)
    result = pid_from_posteriors(joint, vision, language, estimator="faithful")
    assert bool(result.converged)
    assert torch.isfinite(torch.stack(list(result.atoms().values()))).all()
    assert abs(sum(result.atoms().values()) - result.total) < 1e-9
    assert result.union_upper - result.union_lower < 0.02


def test_faithful_mode_names_an_answer_that_a_source_never_gives():
    language = rows(80, 3, 2)
    language[:, 1] = 0
    language = language / language.sum(-1, keepdim=True)
    with pytest.warns(RuntimeWarning, match="exactly none in a source"):
        result = pid_from_posteriors(rows(80, 3, 0), rows(80, 3, 1), language, estimator="faithful")
    assert result.diagnostics["unsolved"] == 3
    assert torch.isnan(result.redundancy)
    assert not bool(result.converged)


def test_negative_synergy_of_merely_matching_marginals_is_flagged():
    flat = torch.full((2, 2), 0.5, dtype=torch.float64)
    result = pid_from_posteriors(flat, torch.eye(2, dtype=torch.float64), flat)
    assert abs(result.synergy + 1) < 1e-9
    assert result.diagnostics["negative_synergy"] == 1


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_points_solver_agrees_with_the_direct_one(scale):
    first, second = sources(70, 4, scale)
    direct, _ = solve_many_answers(first.mT.contiguous(), second.mT.contiguous(), 1e-6)
    lower, upper, f, g, _ = solve_points(first, second, 2e-3)
    assert upper - lower <= 2e-3
    assert lower <= direct.upper_n[0]
    assert upper >= direct.lower_n[0]
    assert (f[:, :, None] + g[:, None]).exp().sum(-1).max() <= 1 + 1e-12


def test_cells_give_bounds_that_hold_and_an_estimate_that_is_close():
    first, second = sources(330, 3, 2.0)
    union = solve_union_of_points(first, second, 0.02)
    reference = solve_points(first, second, 1e-3)
    entropy = float(torch.tensor(3.0).log())
    assert bool(union.converged_L)
    assert union.upper_L - union.lower_L < 0.014
    assert union.lower_L <= entropy + reference[1] + 1e-9
    assert union.upper_L >= entropy + reference[0] - 1e-9
    assert abs(union.value_L - entropy - 0.5 * (reference[0] + reference[1])) < 0.002
    dual = (union.f_LAK[0, :, None] + union.g_LBK[0]).exp().sum(-1)
    assert dual.max() <= 1 + 1e-12


@pytest.mark.parametrize("language_scale", [0.0, 0.3])
def test_a_source_that_tells_all_leaves_no_synergy_however_coarse_the_cells(language_scale):
    """With ten answers and 2,000 points, cells alone put the union .09 bits under the vision's information."""
    vision, language = rows(2000, 10, 0, 1.5), rows(2000, 10, 1, language_scale)
    result = pid_from_posteriors(vision, vision, language, max_tilt=1.0, standard_errors=True)
    assert abs(result.synergy) < 1e-3
    assert result.unique_language > -1e-9
    assert result.union_lower >= result.information_vision - 1e-9
    assert result.union_upper <= result.information_vision + result.information_language + 1e-9
    assert bool(result.converged)


def test_merging_loses_information_and_no_mass():
    p = rows(300, 4, 0)[None] / 300
    cells, cell = merge(p, 32)
    assert torch.allclose(cells.sum(1), p.sum(1))
    assert cell.max() < 32
    loss = information_about_answer(p) - information_about_answer(cells)
    assert 0 < loss < 0.1


def test_gradient_through_the_tilt():
    g = torch.Generator().manual_seed(5)
    logits = torch.randn(3, 6, 3, generator=g, dtype=torch.float64, requires_grad=True)

    def atoms(x):
        joint, vision, language = torch.softmax(x, -1)
        result = pid_from_posteriors(joint, vision, language, max_tilt=1.0, tolerance=1e-10)
        return torch.stack([result.redundancy, result.synergy])

    assert torch.autograd.gradcheck(atoms, (logits,), eps=1e-4, atol=1e-5, rtol=1e-4)


def test_standard_errors_agree_with_a_bootstrap():
    n = 400
    g = torch.Generator().manual_seed(3)
    x1, x2 = torch.rand(2, n, generator=g, dtype=torch.float64)
    yes = 0.1 + 0.5 * x1 + 0.3 * x1 * x2
    vision, language = 0.1 + 0.65 * x1, 0.1 + 0.25 + 0.15 * x2
    args = [torch.stack([1 - p, p], -1) for p in (yes, vision, language)]
    result = pid_from_posteriors(*args, standard_errors=True)
    spread = {name: x.std(0) for name, x in bootstrap_posteriors(*args, n_replicates=200).items()}
    for name in ("redundancy", "unique_vision", "synergy"):
        assert 0.8 < result.standard_errors[name] / spread[name] < 1.25, name


def test_one_sample_tells_nothing():
    p = torch.tensor([[0.2, 0.3, 0.5]])
    result = pid_from_posteriors(p, p, p, standard_errors=True)
    for bits in result.atoms().values():
        assert abs(bits) < 1e-6


def test_mismatched_and_unknown_arguments_are_refused():
    with pytest.raises(InputError, match=r"language has shape \(5, 2\), joint \(4, 2\)"):
        pid_from_posteriors(rows(4, 2, 0), rows(4, 2, 0), rows(5, 2, 0))
    with pytest.raises(ConfigError, match=r"estimator 'faithful'[\s\S]*max_tilt[\s\S]*it takes tolerance"):
        pid_from_posteriors(rows(4, 2, 0), rows(4, 2, 0), rows(4, 2, 0), estimator="faithful", max_tilt=0.2)
    with pytest.raises(ConfigError, match="estimator 'batch' on samples without features"):
        pid_from_posteriors(rows(4, 2, 0), rows(4, 2, 0), rows(4, 2, 0), estimator="batch")
    with pytest.raises(InputError, match="max_tilt=nan"):
        pid_from_posteriors(rows(4, 2, 0), rows(4, 2, 0), rows(4, 2, 0), max_tilt=float("nan"))
    with pytest.raises(InputError, match=r"weights is \(3, 4\)"):
        pid_from_posteriors(rows(4, 2, 0), rows(4, 2, 0), rows(4, 2, 0), torch.full((3, 4), 0.25))
    with pytest.raises(UnknownNameError, match="estimator 'neural'"):
        pid_from_posteriors(rows(4, 2, 0), rows(4, 2, 0), rows(4, 2, 0), estimator="neural")
