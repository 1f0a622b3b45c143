"""The exact solver for K answers: against outside references, on degenerate inputs, and as a batch."""

import json
from pathlib import Path

import pytest
import torch

from fusionscope.pid import gates, pid_from_joint
from fusionscope.pid.union.interior_point import certificate, solve_many_answers
from fusionscope.pid.union.solve import solve_union

GOLDEN = json.loads((Path(__file__).parent / "golden" / "union_information.json").read_text())


def sharp_conditionals(n, a, b, k, scale, seed):
    g = torch.Generator().manual_seed(seed)
    parts = [torch.randn(n, *s, k, generator=g, dtype=torch.float64) for s in ((a, 1), (1, b), (a, b))]
    return torch.softmax(scale * (parts[0] + parts[1] + parts[2]), -1) / (a * b)


def solve(p, tolerance=6e-7):
    p1, p2 = p.sum(2).mT.contiguous(), p.sum(1).mT.contiguous()
    return solve_many_answers(p1, p2, tolerance)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{'x'.join(map(str, case['shape']))}-{case['kind']}")
def test_agrees_with_certified_references(case):
    p = torch.tensor(case["p"], dtype=torch.float64).reshape(case["shape"])
    result = pid_from_joint(p / p.sum())
    assert bool(result.converged)
    assert result.union_upper - result.union_lower <= 1e-6
    assert result.union_lower - 1e-8 <= case["union_bits"] <= result.union_upper + 1e-8


@pytest.mark.parametrize("gate", list(gates.zoo()), ids=lambda gate: gate.name)
def test_gates(gate):
    result = pid_from_joint(gate.joint)
    for name, bits in result.atoms().items():
        assert abs(float(bits) - getattr(gate, name)) <= (1e-9 if gate.joint.shape[2] == 2 else 1e-6), name


def test_agrees_with_clarabel_on_fresh_joints():
    cp = pytest.importorskip("cvxpy")
    p = torch.distributions.Dirichlet(torch.full((48,), 0.5, dtype=torch.float64)).sample((1,)).view(4, 3, 4)
    q = [cp.Variable((4, 3), nonneg=True) for _ in range(4)]
    total = sum(q)
    fixed = [cp.sum(q[y], axis=1) == p.sum(1)[:, y].numpy() for y in range(4)]
    fixed += [cp.sum(q[y], axis=0) == p.sum(0)[:, y].numpy() for y in range(4)]
    problem = cp.Problem(cp.Minimize(sum(cp.sum(cp.rel_entr(q[y], total)) for y in range(4))), fixed)
    problem.solve(solver=cp.CLARABEL)
    py = p.sum((0, 1))
    reference = (problem.value - float((py * py.log()).sum())) / float(torch.tensor(2.0).log())
    result = pid_from_joint(p)
    assert abs(0.5 * float(result.union_lower + result.union_upper) - reference) < 2e-6


@pytest.mark.parametrize("scale", [1.0, 4.0, 8.0, 20.0])
def test_posteriors_of_a_confident_model_converge(scale):
    p = sharp_conditionals(64, 5, 4, 4, scale, seed=int(scale))
    found, _ = solve(p)
    assert (found.upper_n - found.lower_n).max() <= 6e-7
    assert (found.upper_n - found.lower_n).min() >= -1e-12


def test_tight_gap():
    found, _ = solve(sharp_conditionals(16, 6, 5, 4, 1.0, seed=0), 1e-10)
    assert (found.upper_n - found.lower_n).max() <= 1e-10


@pytest.mark.parametrize("apart", [0.0, 1e-9, 1e-5])
def test_tight_gap_of_nearly_equal_channels(apart):
    """The coupling shrinks to the diagonal: margins cancel to 1e-9 unless rescaling a pair is solved for on its own."""
    g = torch.Generator().manual_seed(2)
    channel = torch.softmax(2 * torch.randn(24, 4, 4, generator=g, dtype=torch.float64), 1)
    other = channel * (1 + apart * torch.randn(24, 4, 4, generator=g, dtype=torch.float64))
    p1, p2 = 0.25 * channel, 0.25 * other / other.sum(1, keepdim=True)
    found, _ = solve_many_answers(p1.mT.contiguous(), p2.mT.contiguous(), 1e-10)
    assert (found.upper_n - found.lower_n).max() <= 1e-10
    assert (found.upper_n - found.lower_n).min() >= -1e-13


@pytest.mark.parametrize("apart", [0.0, 1e-7])
def test_sharp_sources_that_are_nearly_equal(apart):
    """Masses of 1e-14 beside ordinary ones: rounding leaves a Newton matrix indefinite."""
    g = torch.Generator().manual_seed(30)
    masses = torch.rand(128, 5, 4, generator=g, dtype=torch.float64) ** 30
    first = masses / masses.sum((1, 2), keepdim=True)
    second = (first * (1 + apart * torch.randn(128, 5, 4, generator=g, dtype=torch.float64)))[:, [3, 1, 4, 0, 2]]
    second = second * first.sum(1, keepdim=True) / second.sum(1, keepdim=True)
    found, _ = solve_many_answers(first.mT.contiguous(), second.mT.contiguous(), 7e-7)
    assert (found.upper_n - found.lower_n).max() <= 7e-7


def test_what_is_lost_to_rounding_keeps_its_best_bounds():
    p = sharp_conditionals(8, 5, 4, 4, 3.0, seed=1)
    found, _ = solve(p, 1e-17)  # cannot be reached
    good, _ = solve(p, 1e-9)
    assert (found.upper_n - found.lower_n).max() < 1e-11
    assert (found.lower_n <= good.upper_n + 1e-14).all()
    assert (found.upper_n >= good.lower_n - 1e-14).all()


@pytest.mark.parametrize("tiny", [5e-324, 1e-310, 1e-300, 1e-18])
def test_answers_whose_mass_is_hardly_a_number(tiny):
    p = torch.tensor([[[0.3, 0.1, 0.0], [0.1, 0.2, tiny]], [[0.2, 0.0, tiny], [tiny, 0.1, 0.0]]], dtype=torch.float64)
    without = torch.where(p > 1e-3, p, 0.0)
    result, plain = pid_from_joint(p), pid_from_joint(without)
    assert bool(result.converged)
    for name, bits in plain.atoms().items():
        assert abs(bits - result.atoms()[name]) < 1e-6


def test_nearly_empty_joints_converge():
    g = torch.Generator().manual_seed(1)
    masses = torch.rand(64, 5, 5, 4, generator=g, dtype=torch.float64) ** 40  # many masses under 1e-12
    found, _ = solve(masses / masses.sum((1, 2, 3), keepdim=True))
    assert (found.upper_n - found.lower_n).max() <= 6e-7


def test_the_certificate_holds_for_any_iterate():
    p = sharp_conditionals(8, 4, 3, 3, 1.0, seed=3)
    p1, p2 = p.sum(2).mT.contiguous(), p.sum(1).mT.contiguous()
    g = torch.Generator().manual_seed(0)
    q = torch.rand(8, 3, 3, 4, generator=g, dtype=torch.float64)
    noise = (
        torch.randn(8, 3, 4, generator=g, dtype=torch.float64),
        torch.randn(8, 3, 3, generator=g, dtype=torch.float64),
    )
    rough = certificate(p1, p2, q, *noise)
    best, _ = solve(p, 1e-9)
    assert (rough.lower_n <= best.upper_n).all()
    assert (rough.upper_n >= best.lower_n).all()


def test_without_convergence_the_bounds_hold_and_a_flag_and_a_warning_say_so():
    p = sharp_conditionals(3, 6, 6, 4, 2.0, seed=5)
    good = solve_union(p.sum(2), p.sum(1), 1e-8)
    with pytest.warns(RuntimeWarning, match="did not reach a certified gap"):
        rough = solve_union(p.sum(2), p.sum(1), 1e-8, max_iterations=4)
    assert not rough.converged_L.any()
    assert (rough.lower_L <= good.upper_L).all()
    assert (rough.upper_L >= good.lower_L).all()


def test_a_problem_is_solved_alike_alone_and_in_a_batch():
    p = sharp_conditionals(40, 4, 6, 3, 2.0, seed=7)
    together = pid_from_joint(p)
    alone = torch.stack([pid_from_joint(p[i]).synergy for i in (0, 13, 39)])
    assert torch.allclose(together.synergy[[0, 13, 39]], alone, atol=1e-9)


def test_either_source_may_be_eliminated():
    p = sharp_conditionals(4, 30, 3, 4, 2.0, seed=8)
    wide, tall = pid_from_joint(p, tolerance=1e-8), pid_from_joint(p.transpose(1, 2), tolerance=1e-8)
    assert torch.equal(wide.unique_vision, tall.unique_language)


@pytest.mark.parametrize("k", [2, 3, 9, 26])
def test_identical_sources_are_redundant(k):
    g = torch.Generator().manual_seed(k)
    t = torch.softmax(torch.randn(4, k, generator=g, dtype=torch.float64), -1)
    p = torch.diag_embed(t.T).permute(1, 2, 0) / 4
    result = pid_from_joint(p)
    assert bool(result.converged)
    assert abs(result.redundancy - result.total) < 1e-6
    assert abs(result.unique_vision) < 1e-6


@pytest.mark.parametrize("shape", [(1, 5, 4), (5, 1, 4), (1, 1, 4), (3, 3, 26), (2, 4, 1)])
def test_thin_shapes(shape):
    g = torch.Generator().manual_seed(sum(shape))
    p = torch.rand(shape, generator=g, dtype=torch.float64)
    result = pid_from_joint(p / p.sum())
    assert bool(result.converged)
    if 1 in shape[:2]:
        assert abs(result.redundancy) < 1e-6
        assert abs(result.synergy) < 1e-6


def test_answers_that_never_occur_and_rows_without_mass_change_nothing():
    p = sharp_conditionals(1, 4, 3, 3, 1.0, seed=9)[0]
    padded = torch.zeros(6, 5, 5, dtype=torch.float64)
    padded[1:5, :3, ::2] = p
    plain, odd = pid_from_joint(p, tolerance=1e-9), pid_from_joint(padded, tolerance=1e-9)
    for name, bits in plain.atoms().items():
        assert abs(bits - odd.atoms()[name]) < 2e-9


def test_deterministic_posteriors():
    p = torch.zeros(4, 4, 4, dtype=torch.float64)
    for a in range(4):
        for b in range(4):
            p[a, b, (a + b) % 4] = 1 / 16
    result = pid_from_joint(p)
    assert abs(result.synergy - 2) < 1e-6
