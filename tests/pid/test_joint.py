"""Properties of the decomposition, under Hypothesis, and its gradient."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from fusionscope.errors import InputError
from fusionscope.pid import pid_from_joint

SLACK = 1e-6  # the certified gap


@st.composite
def joints(draw, max_side=5, max_answers=5):
    a, b, k = (draw(st.integers(1, max_side)), draw(st.integers(1, max_side)), draw(st.integers(2, max_answers)))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    p = torch.rand(a, b, k, generator=g, dtype=torch.float64) ** draw(st.sampled_from([1, 4, 20]))
    p = p * (torch.rand(a, b, k, generator=g) >= draw(st.sampled_from([0.0, 0.4])))
    p[0, 0, 0] += 1e-3
    return p / p.sum()


@settings(max_examples=40, deadline=None)
@given(joints())
def test_atoms_sum_to_the_total_and_to_the_informations(p):
    result = pid_from_joint(p)
    r, u1, u2, s = result.atoms().values()
    assert bool(result.converged)
    assert abs(r + u1 + u2 + s - result.total) < 1e-12
    assert abs(r + u1 - result.information_vision) < 1e-12
    assert abs(r + u2 - result.information_language) < 1e-12
    assert min(r, u1, u2, s) >= (-1e-9 if p.shape[-1] == 2 else -SLACK)


@settings(max_examples=20, deadline=None)
@given(joints())
def test_swapping_the_sources_swaps_the_unique_atoms(p):
    result, swapped = pid_from_joint(p), pid_from_joint(p.transpose(0, 1))
    assert abs(result.unique_vision - swapped.unique_language) < SLACK
    assert abs(result.unique_language - swapped.unique_vision) < SLACK
    assert abs(result.redundancy - swapped.redundancy) < SLACK


@settings(max_examples=20, deadline=None)
@given(joints(), st.randoms(use_true_random=False))
def test_relabelling_changes_nothing(p, random):
    orders = [random.sample(range(n), n) for n in p.shape]
    result, relabelled = pid_from_joint(p), pid_from_joint(p[orders[0]][:, orders[1]][:, :, orders[2]])
    for name, bits in result.atoms().items():
        assert abs(bits - relabelled.atoms()[name]) < 2 * SLACK


@settings(max_examples=20, deadline=None)
@given(joints(max_side=6))
def test_coarsening_a_source_never_raises_the_union(p):
    coarse = torch.cat([p[:2].sum(0, keepdim=True), p[2:]])
    assert pid_from_joint(coarse).union_lower <= pid_from_joint(p).union_upper + 1e-9


@settings(max_examples=20, deadline=None)
@given(joints())
def test_splitting_a_value_into_two_alike_changes_nothing(p):
    split = torch.cat([0.3 * p[:1], 0.7 * p[:1], p[1:]])
    assert abs(pid_from_joint(split).synergy - pid_from_joint(p).synergy) < 2 * SLACK


@pytest.mark.parametrize("k", [2, 3])
def test_gradient(k):
    g = torch.Generator().manual_seed(k)
    logits = torch.randn(2, 2, 3, k, generator=g, dtype=torch.float64, requires_grad=True)

    def atoms(x):
        p = torch.softmax(x.flatten(1), -1).view_as(x)
        return torch.stack(list(pid_from_joint(p, tolerance=1e-10).atoms().values()))

    assert torch.autograd.gradcheck(atoms, (logits,), eps=1e-4, atol=1e-5, rtol=1e-4)


def test_leading_dimensions_stay():
    p = torch.rand(2, 3, 4, 2, 3, dtype=torch.float32)
    result = pid_from_joint(p / p.sum((-3, -2, -1), keepdim=True))
    assert result.synergy.shape == (2, 3)
    assert result.synergy.dtype == torch.float64
    assert result[1].synergy.shape == (3,)
    assert result[1, 2].converged.shape == ()


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (torch.full((2, 2, 2), float("nan")), r"p contains nan"),
        (torch.tensor([[[1.5, -0.5]]]), r"p contains -0.5"),
        (torch.full((2, 2, 2), 0.25), r"p sums to 2"),
        (torch.ones(2, 2) / 4, r"p has shape \(2, 2\)"),
        (torch.ones(0, 2, 2), r"p has shape \(0, 2, 2\)"),
        (torch.ones(1, 1, 1, dtype=torch.int64), r"p has dtype torch.int64"),
        ([[[1.0]]], r"p is a list"),
        (torch.ones(1, 1, 1).to_sparse(), r"p has layout torch.sparse_coo"),
    ],
)
def test_bad_joints_are_refused_by_name_value_and_rule(p, text):
    with pytest.raises(InputError, match=text) as caught:
        pid_from_joint(p)
    assert "Why: " in str(caught.value)
    assert "Fix: " in str(caught.value)


@pytest.mark.parametrize("tolerance", [0, -1e-6, float("nan"), float("inf"), None])
def test_a_tolerance_that_is_none_is_refused(tolerance):
    with pytest.raises(InputError, match=f"tolerance={tolerance!r}"):
        pid_from_joint(torch.full((2, 2, 3), 1 / 12), tolerance=tolerance)
