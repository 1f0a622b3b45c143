"""Crossed designs: weights, bias correction, standard errors, kinks, gradients, local contributions."""

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.pid import (
    bootstrap_crossed,
    confidence_intervals,
    local_contributions,
    permutation_null,
    pid_crossed,
    pid_from_joint,
    subsampling_interval,
)

ATOMS = ("redundancy", "unique_vision", "unique_language", "synergy")
EXACT = {"images_enumerated": True, "questions_enumerated": True}


def conditionals(a, b, k, seed=0, scale=(1.0, 1.0, 1.0), leading=()):
    g = torch.Generator().manual_seed(seed)
    shapes = ((a, 1, k), (1, b, k), (a, b, k))
    logits = sum(
        s * torch.randn(*leading, *shape, generator=g, dtype=torch.float64)
        for s, shape in zip(scale, shapes, strict=True)
    )
    return torch.softmax(logits, -1)


def test_is_the_joint_of_weights_and_conditionals():
    p = conditionals(4, 5, 3)
    w = torch.rand(4, 5, dtype=torch.float64)
    w[1] = 0
    w[:, 2] = 0
    w = w / w.sum()
    result, joint = pid_crossed(p, w, **EXACT), pid_from_joint(p * w[..., None])
    for name in ATOMS:
        assert abs(result.atoms()[name] - joint.atoms()[name]) < 1e-12


def test_weights_may_differ_by_layer():
    p = conditionals(4, 5, 3, leading=(2,))
    w = torch.rand(2, 4, 5, dtype=torch.float64)
    w = w / w.sum((1, 2), keepdim=True)
    both = pid_crossed(p, w, **EXACT)
    for i in range(2):
        assert abs(both.synergy[i] - pid_crossed(p[i], w[i], **EXACT).synergy) < 1e-9


@pytest.mark.parametrize("k", [2, 4])
def test_pure_knowledge_stays_without_vision_and_synergy_after_correction(k):
    p = conditionals(24, 20, k, scale=(0.0, 2.0, 0.0))
    result = pid_crossed(p)
    for bits in (result.information_vision, result.unique_vision, result.synergy, result.redundancy):
        assert abs(bits) < 2e-3


def test_correction_shrinks_the_bias():
    population = conditionals(256, 256, 2, scale=(0.5, 0.5, 1.5))
    truth = pid_crossed(population, **EXACT)
    g = torch.Generator().manual_seed(1)
    errors = []
    for _ in range(30):
        a, b = (torch.randperm(256, generator=g)[:24] for _ in range(2))
        result = pid_crossed(population[a][:, b])
        plug_in = {name: result.diagnostics[f"plug_in_{name}"] for name in ATOMS}
        errors.append([[x - truth.atoms()[n] for n, x in found.items()] for found in (plug_in, result.atoms())])
    bias = torch.tensor(errors).mean(0).abs()
    assert bias[0, 3] > 0.015  # the plug-in underrates synergy
    assert bias[1, 3] < 0.5 * bias[0, 3]
    assert bias[1].max() < 0.012


def test_atoms_sum_to_the_total_with_and_without_correction():
    result = pid_crossed(conditionals(8, 9, 3))
    assert abs(sum(result.atoms().values()) - result.total) < 1e-12
    assert abs(sum(result.diagnostics[f"plug_in_{n}"] for n in ATOMS) - result.diagnostics["plug_in_total"]) < 1e-12
    assert abs(result.redundancy + result.unique_vision - result.information_vision) < 1e-12


def test_an_enumerated_axis_is_neither_corrected_nor_uncertain():
    p = conditionals(12, 6, 3)
    assert "plug_in_synergy" not in pid_crossed(p, **EXACT).diagnostics
    both = pid_crossed(p, standard_errors=True, **EXACT)
    assert float(both.standard_errors["synergy"]) == 0
    images = pid_crossed(p, standard_errors=True, questions_enumerated=True)
    assert 0 < images.standard_errors["total"] < pid_crossed(p, standard_errors=True).standard_errors["total"]


def test_a_balanced_axis_is_not_corrected_and_its_interval_holds_the_truth():
    """48 images of four types, twelve of each: H(Y) is 2 bits in the sample as in the population."""
    types = torch.arange(48) % 4
    answers = torch.softmax(9.0 * torch.nn.functional.one_hot(types, 4).double(), -1)
    p = answers[:, None].expand(48, 20, 4)
    truth = pid_crossed(p, **EXACT).unique_vision
    assert truth < 2
    random, balanced = (pid_crossed(p, standard_errors=True, images_balanced=flag) for flag in (False, True))
    assert random.unique_vision > 2
    assert random.diagnostics["above_log2_k"] == 1
    assert balanced.diagnostics["above_log2_k"] == 0
    assert abs(balanced.unique_vision - truth) < 1e-9
    low, high = confidence_intervals(balanced)["unique_vision"]
    assert low <= truth <= high


@pytest.mark.parametrize("shape", [(48, 4, 2), (30, 12, 4), (16, 16, 3)])
def test_atoms_do_not_depend_on_the_order_of_images_questions_or_sources(shape):
    p = conditionals(*shape)
    result = pid_crossed(p, standard_errors=True)
    g = torch.Generator().manual_seed(1)
    images, questions = (torch.randperm(n, generator=g) for n in shape[:2])
    permuted = pid_crossed(p[images][:, questions])
    swapped = pid_crossed(p[images][:, questions].transpose(0, 1))
    mirrored = ("redundancy", "unique_language", "unique_vision", "synergy")
    for name, mirror in zip(ATOMS, mirrored, strict=True):
        tolerance = 0.01 * result.standard_errors[name] + 1e-12
        assert (getattr(permuted, name) - getattr(result, name)).abs() <= tolerance, name
        assert (getattr(swapped, mirror) - getattr(result, name)).abs() <= tolerance, name


def test_a_layer_is_decomposed_alike_whatever_layers_are_beside_it():
    p = conditionals(12, 8, 3, leading=(3,))
    together = pid_crossed(p, standard_errors=True)
    alone = pid_crossed(p[1], standard_errors=True)
    for name in ATOMS:
        torch.testing.assert_close(together.atoms()[name][1], alone.atoms()[name], atol=1e-5, rtol=0)


def test_standard_errors_agree_with_a_bootstrap():
    p = conditionals(60, 50, 2, seed=2, scale=(1.5, 0.5, 1.0))  # vision dominates: far from the kink
    errors = pid_crossed(p, standard_errors=True).standard_errors
    spread = {name: x.std(0) for name, x in bootstrap_crossed(p, n_replicates=300).items()}
    for name in ("information_vision", "total", "union", "unique_vision", "synergy"):
        assert 0.75 < errors[name] / spread[name] < 1.25, name


def test_a_kink_is_flagged_and_a_regular_problem_is_not():
    t = torch.tensor([[0.05, 0.95], [0.95, 0.05]], dtype=torch.float64)
    bits = torch.arange(80) % 2
    both = 0.05 + 0.9 * (bits[:, None] & bits).double()
    softened_and = torch.stack([1 - both, both], -1)
    assert pid_crossed(softened_and, standard_errors=True).diagnostics["nonregular"] == 1
    dominated = t[bits][:, None].expand(80, 80, 2) * torch.ones(80, 80, 1)
    assert pid_crossed(dominated, standard_errors=True).diagnostics["nonregular"] == 0


def test_gradient_with_weights():
    g = torch.Generator().manual_seed(4)
    logits = torch.randn(3, 2, 3, generator=g, dtype=torch.float64, requires_grad=True)
    w = torch.tensor([[0.3, 0.1], [0.0, 0.2], [0.25, 0.15]], dtype=torch.float64)

    def synergy(x):
        return pid_crossed(torch.softmax(x, -1), w, tolerance=1e-10, **EXACT).synergy

    assert torch.autograd.gradcheck(synergy, (logits,), eps=1e-4, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("k", [2, 3])
def test_local_contributions_average_to_the_atoms(k):
    p = conditionals(5, 7, k)
    w = torch.rand(5, 7, dtype=torch.float64)
    w = w / w.sum()
    local = local_contributions(p, w)
    for name, bits in pid_crossed(p, w, **EXACT).atoms().items():
        assert local[name].shape == (5, 7)
        assert abs((w * local[name]).sum() - bits) < 1e-6


def test_permutation_null_finds_vision_where_it_is_and_not_where_it_is_not():
    informative = permutation_null(conditionals(20, 16, 2, scale=(2.0, 1.0, 0.5)), n_replicates=60)
    uninformative = permutation_null(conditionals(20, 16, 2, scale=(0.0, 1.0, 1.5), seed=3), n_replicates=60)
    assert informative["information_vision"] < 0.05
    assert uninformative["information_vision"] > 0.05


def test_subsampling_interval_holds_the_plug_in_and_refuses_an_enumerated_design():
    p = conditionals(30, 30, 2)
    low, high = subsampling_interval(p, n_replicates=60)["total"]
    assert low < high
    with pytest.raises(InputError, match="both axes are enumerated"):
        subsampling_interval(p, **EXACT)


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    pid_crossed(conditionals(6, 6, 3), standard_errors=True)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (torch.ones(3, 3), r"weights is \(3, 3\)"),
        (torch.full((4, 5), -0.05), r"weights contains -0.05"),
        (torch.full((4, 5), 0.1), r"weights sums to 2"),
        (torch.full((2, 4, 5), 0.05), r"weights is \(2, 4, 5\)"),
    ],
)
def test_bad_weights_are_refused(weights, text):
    with pytest.raises(InputError, match=text):
        pid_crossed(conditionals(4, 5, 2), weights)
