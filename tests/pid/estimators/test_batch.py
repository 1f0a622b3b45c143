"""BATCH: the original's arithmetic, batched training, every sample counted."""

import math
import runpy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fusionscope.errors import InputError
from fusionscope.pid import BatchEstimator, gates
from fusionscope.pid.estimators import PairSample
from fusionscope.pid.estimators._alignment import Minibatch, align, flow, initial_parameters

ORIGINAL = runpy.run_path(str(Path(__file__).parents[3] / "tools" / "batch_reference.py"))


def sample(name: str, n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One-hot sources of n draws from a gate, with the exact posteriors."""
    p_ABK = gates.gate(name).joint
    cell = torch.multinomial(
        p_ABK.sum(-1).flatten(), n, replacement=True, generator=torch.Generator().manual_seed(seed)
    )
    a, b = cell // p_ABK.shape[1], cell % p_ABK.shape[1]
    both, first, second = p_ABK, p_ABK.sum(1), p_ABK.sum(0)
    p12, p1, p2 = (p / p.sum(-1, keepdim=True).clamp_min(1e-300) for p in (both, first, second))
    one_hot = torch.nn.functional.one_hot
    return one_hot(a, p_ABK.shape[0]).float(), one_hot(b, p_ABK.shape[1]).float(), p12[a, b], p1[a], p2[b]


def test_coupling_loss_and_gradient_are_the_originals() -> None:
    # Every cell of AND equally often: the masses of the labels agree, so the original's loop stops soon.
    joint = gates.gate("AND").joint
    a, b = torch.tensor([0, 0, 1, 1] * 16), torch.tensor([0, 1, 0, 1] * 16)
    x1, x2 = (torch.nn.functional.one_hot(x, 2).double() for x in (a, b))
    p12, p1, p2 = 4 * joint[a, b], 2 * joint.sum(1)[a], 2 * joint.sum(0)[b]
    parameters = tuple(
        initial_parameters([2, 32, 32, 32, 32, 20], 1, [torch.Generator().manual_seed(s)], p1) for s in (0, 1)
    )
    batch = Minibatch(x1=x1[None], x2=x2[None], p1=p1[None, None], p2=p2[None, None])
    q, _ = align(batch, (parameters[0], parameters[1]), balance=False, rounds=500, tolerance=0.01)
    loss = flow(q, batch.p1).sum()

    networks = nn.ModuleList(ORIGINAL["perceptron"](2, 32, 20, 3).double() for _ in range(2))
    for network, values in zip(networks, parameters, strict=True):
        for ours, theirs in zip(values, network.parameters(), strict=True):
            theirs.data = ours.detach()[0, 0].T.reshape(theirs.shape).clone()
    scaled = ORIGINAL["coupling"](networks, x1, x2, p1, p2)
    their_loss, _ = ORIGINAL["terms"](scaled, p1, p2, p12, p12.mean(0))

    assert loss.item() == pytest.approx(their_loss.item(), abs=1e-9)
    ours = torch.autograd.grad(loss, parameters[0])
    theirs = torch.autograd.grad(their_loss, list(networks[0].parameters()))
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine[0, 0].T.reshape(its.shape), its, atol=1e-8, rtol=1e-5)


def test_layers_and_seeds_train_as_they_would_alone() -> None:
    x1, x2, p12, p1, p2 = sample("SUM", 200)
    flat = torch.full_like(p1, 1 / 3)
    estimator = BatchEstimator(epochs=2, batch_size=50, plug_in=False)
    layers = [torch.stack([p, flat]) for p in (p12, p1, p2)]
    together = estimator.estimate(x1, x2, *layers, seeds=(5, 6))
    alone = torch.stack([estimator.estimate(x1, x2, p12, p1, p2, seeds=(s,)).synergy for s in (5, 6)])
    assert together.synergy.shape == (2,)
    assert float(together.synergy[0]) == pytest.approx(float(alone.mean()), abs=1e-4)
    assert float(together.diagnostics["seed_std_synergy"][0]) == pytest.approx(float(alone.std()), abs=1e-4)
    assert together.total[1].abs() < 1e-12


@pytest.mark.parametrize("name", ["UNQ", "AND", "RAND"])
def test_gates_are_recovered_within_the_papers_error(name: str) -> None:
    result = BatchEstimator(whole_batches=False, answer_marginal="all").estimate(*sample(name, 2000))
    truth = gates.gate(name).atoms()
    worst = max(abs(float(value) - truth[atom]) for atom, value in result.atoms().items())
    # Five hundred test samples: most of it is sampling error, which the exact plug-in shares.
    assert worst < 0.075
    for atom, value in result.atoms().items():
        assert float(result.diagnostics[f"plug_in_{atom}"]) == pytest.approx(float(value), abs=0.05)
    assert result.converged
    assert result.estimator == "batch"
    assert result.n == 2000


def test_every_test_sample_can_count() -> None:
    _, _, p12, p1, p2 = sample("AND", 90)
    features = torch.arange(90.0)[:, None] / 90
    options = {"epochs": 1, "batch_size": 16, "test_fraction": 0.5, "plug_in": False}
    estimator = BatchEstimator(**options, whole_batches=False, answer_marginal="all")
    result = estimator.estimate(features, features, p12, p1, p2, seeds=(1,))
    test = torch.randperm(90, generator=torch.Generator().manual_seed(1))[45:]
    p_y = p12.mean(0)
    expected = (torch.special.xlogy(p1, p1) - torch.special.xlogy(p1, p_y))[test].sum(-1).mean() / torch.log(
        torch.tensor(2.0).double()
    )
    assert float(result.information_vision) == pytest.approx(float(expected), abs=1e-9)
    assert float(sum(result.atoms().values())) == pytest.approx(float(result.total), abs=1e-9)


def test_whole_batches_and_the_training_parts_marginal_are_the_papers() -> None:
    _, _, p12, p1, p2 = sample("AND", 90)
    features = torch.arange(90.0)[:, None] / 90
    options = {"epochs": 1, "batch_size": 16, "test_fraction": 0.5, "plug_in": False}
    result = BatchEstimator(**options, seeds=(1,)).estimate(features, features, p12, p1, p2)
    order = torch.randperm(90, generator=torch.Generator().manual_seed(1))
    train, test = order[:45], order[45 : 45 + 32]
    p_y = p12[train].mean(0)
    expected = (torch.special.xlogy(p1, p1) - torch.special.xlogy(p1, p_y))[test].sum(-1).mean() / math.log(2)
    assert float(result.information_vision) == pytest.approx(float(expected), abs=1e-9)
    assert float(result.diagnostics["evaluated"]) == 32
    assert float(sum(result.atoms().values())) == pytest.approx(float(result.total), abs=1e-9)


def masked(n: int = 1400) -> list[Tensor]:
    """Features and posteriors like those of a masked design: marginals of the answer that disagree."""
    g = torch.Generator().manual_seed(0)
    x1, x2 = torch.randn(2, n, 12, generator=g)
    first, second = torch.randn(2, 12, 4, generator=g)
    logits = x1 @ first + x2 @ second, 0.5 * x1 @ first + torch.tensor([1.0, 0, 0, 0]), 0.4 * x2 @ second
    return [x1, x2, *(torch.softmax(x, -1) for x in logits)]


def test_atoms_are_those_of_the_original_way_over_three_seeds() -> None:
    """Means over seeds 0 to 2 of ``estimate`` in tools/batch_reference.py on these samples; minutes each there."""
    original = {"redundancy": 0.2543, "unique_vision": 0.5528, "unique_language": 0.2602, "synergy": 0.3995}
    result = BatchEstimator(seeds=(0, 1, 2), plug_in=False).estimate(*masked())
    for name, bits in result.atoms().items():
        assert float(bits) == pytest.approx(original[name], abs=0.03), name


def test_features_of_each_layer_and_chunks_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    x1, x2, p12, p1, p2 = sample("XOR", 80)
    layers = [torch.stack([p, p]) for p in (x1, x2, p12, p1, p2)]
    estimator = BatchEstimator(epochs=1, plug_in=False, standardize=True)
    together = estimator.estimate(*layers)
    monkeypatch.setattr("fusionscope.pid.estimators.batch._MOST_ELEMENTS", 1)
    torch.testing.assert_close(estimator.estimate(*layers).synergy, together.synergy, atol=1e-4, rtol=0)


def test_inconsistent_posteriors_are_flagged_and_clipping_is_asked_for() -> None:
    x1, x2, _, p1, flat = sample("UNQ", 60)
    skewed = torch.tensor([[0.9, 0.1]]).double().expand_as(p1)
    settings = {"epochs": 1, "plug_in": False, "balance": False, "sinkhorn_rounds": 40}
    signed = BatchEstimator(**settings).estimate(x1, x2, flat, p1, skewed)
    clipped = BatchEstimator(**settings, clip=True).estimate(x1, x2, flat, p1, skewed)
    assert not signed.converged
    assert float(signed.synergy) == pytest.approx(-1, abs=1e-3)
    assert min(float(v) for v in clipped.atoms().values()) == 0


def test_the_global_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    BatchEstimator(epochs=1, plug_in=False).estimate(*sample("XOR", 40))
    assert torch.equal(state, torch.random.get_rng_state())


def test_bad_inputs_are_named() -> None:
    x1, x2, p12, p1, p2 = sample("XOR", 40)
    estimator = BatchEstimator()
    with pytest.raises(InputError, match=r"features_language has shape \(39, 2\)"):
        estimator.estimate(x1, x2[:39], p12, p1, p2)
    with pytest.raises(InputError, match="features_vision holds a NaN"):
        estimator.estimate(x1 / 0, x2, p12, p1, p2)
    with pytest.raises(InputError, match="vision sums to 2"):
        estimator.estimate(x1, x2, p12, 2 * p1, p2)
    with pytest.raises(InputError, match="language has shape"):
        estimator.estimate(x1, x2, p12, p1, p2[:30])
    with pytest.raises(InputError, match="3 samples"):
        estimator.estimate(x1[:3], x2[:3], p12[:3], p1[:3], p2[:3])
    with pytest.raises(InputError, match="seeds"):
        estimator.estimate(x1, x2, p12, p1, p2, seeds=())
    with pytest.raises(InputError, match="answer_marginal='test'"):
        BatchEstimator(answer_marginal="test")  # type: ignore[arg-type]
    posteriors = {"joint": p12, "vision": p1, "language": p2, "weights": torch.full((40,), 1 / 40)}
    weighted = PairSample(**posteriors, features_vision=x1, features_language=x2)
    with pytest.raises(InputError, match="weights of pairs"):
        estimator.decompose(weighted)
    with pytest.raises(InputError, match="epochs=0"):
        BatchEstimator(epochs=0)
    with pytest.raises(InputError, match=r"test_fraction=1\.5"):
        BatchEstimator(test_fraction=1.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("hidden_size", 3.5),
        ("epochs", "8"),
        ("embedding_size", 1),
        ("sinkhorn_tolerance", -0.1),
        ("hidden_layers", -1),
        ("batch_size", True),
    ],
)
def test_settings_that_cannot_be_are_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name}={value!r}"):
        BatchEstimator(**{name: value})  # type: ignore[arg-type]
