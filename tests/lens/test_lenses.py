"""The tuned lens learns a change of basis, belongs to one model, and is compared with the logit lens."""

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.lens import LensComparison, LogitLens, TunedLens, divergence


@pytest.fixture
def lens():
    head = torch.randn(11, 6, generator=torch.Generator().manual_seed(0))
    return LogitLens(norm=lambda hidden: hidden, head=lambda hidden: hidden @ head.T)


def batches(n, seed=1):
    """The last layer is a rotation of the first one."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(9)))[0]
    for _ in range(n):
        first = torch.randn(64, 6, generator=generator)
        yield {0: first, 1: first @ turn.T}


def test_it_starts_as_the_logit_lens_and_reads_the_last_layer_unchanged(lens):
    tuned = TunedLens(lens, 1, 6)
    hidden = torch.randn(5, 6)
    assert torch.equal(tuned(hidden, 0), lens(hidden, 0))
    tuned.shift.data.fill_(3.0)
    assert torch.equal(tuned(hidden, 1), lens(hidden, 1))
    assert not torch.equal(tuned(hidden, 0), lens(hidden, 0))


def test_it_learns_a_change_of_basis(lens):
    tuned = TunedLens(lens, 1, 6)
    before = tuned.loss(next(batches(1, seed=5)))
    losses = tuned.fit(batches(200), learning_rate=2e-2, weight_decay=0.0)
    assert len(losses) == 200
    assert before > 1
    assert tuned.loss(next(batches(1, seed=5))) < 0.02
    assert tuned.scale.grad is None


def test_a_saved_lens_is_for_its_model_alone(lens, tmp_path):
    tuned = TunedLens(lens, 1, 6)
    tuned.fit(batches(3))
    tuned.save(tmp_path / "lens.safetensors", "abc")
    hidden = torch.randn(5, 6)
    again = TunedLens.load(tmp_path / "lens.safetensors", lens, "abc")
    assert torch.equal(again(hidden, 0), tuned(hidden, 0))
    with pytest.raises(InputError, match="trained for other weights"):
        TunedLens.load(tmp_path / "lens.safetensors", lens, "abd")


def test_gradients_are_those_of_the_loss(lens):
    """They are computed layer by layer, so that one layer's graph is alive at a time."""
    tuned = TunedLens(lens, 3, 6)
    hidden = {layer: torch.randn(7, 6, generator=torch.Generator().manual_seed(layer)) for layer in range(4)}
    wanted = torch.autograd.grad(tuned.loss(hidden), [tuned.scale, tuned.shift])
    gradients = [torch.empty_like(value) for value in wanted]
    with torch.no_grad():
        loss = tuned._descend(hidden, *gradients)
    torch.testing.assert_close(gradients, list(wanted))
    torch.testing.assert_close(loss, tuned.loss(hidden).detach())
    assert tuned.fit([]) == []


def test_translators_are_float32_whatever_the_trainer_builds_in(lens):
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert TunedLens(lens, 1, 6).scale.dtype == torch.float32
    finally:
        torch.set_default_dtype(default)


def test_a_damaged_file_is_told(lens, tmp_path):
    (tmp_path / "lens.safetensors").write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"is no tuned lens[\s\S]*does not open[\s\S]*train one"):
        TunedLens.load(tmp_path / "lens.safetensors", lens, "abc")


def test_divergence_is_that_of_the_layers_from_the_last_one(lens):
    hidden = next(batches(1))
    answer, read = (lens(hidden[layer], layer).log_softmax(-1) for layer in (1, 0))
    by_hand = (answer.exp() * (answer - read)).sum(-1).mean() / torch.log(torch.tensor(2.0))
    torch.testing.assert_close(divergence(lens, lens, hidden, [0]), by_hand)
    assert divergence(lens, lens, hidden, [1]) == 0


def test_a_comparison_requires_a_better_lens():
    LensComparison(lens="tuned-1", task="t", bits=0.5, logit_bits=0.6).require_better()
    for bits in (0.7, float("nan")):
        with pytest.raises(InputError, match=r"lens 'tuned-1' on task 't'[\s\S]*0\.600 bits"):
            LensComparison(lens="tuned-1", task="t", bits=bits, logit_bits=0.6).require_better()
