"""The tuned lens learns a change of basis, and belongs to the model it was trained for."""

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.lens import LogitLens, TunedLens


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
