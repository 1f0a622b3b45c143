"""A tuned lens trained on a task, inside a probe."""

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.lvlm import LVLM, miniature
from fusionscope.probe import ProbeSpec, posteriors
from fusionscope.probe.tuning import load_lens, save_lens, train_tuned_lens


def test_training_brings_early_layers_nearer_to_the_answer(make_task, tmp_path):
    lvlm = LVLM.wrap(*miniature("llava"))
    task, state = make_task(n_images=4), torch.get_rng_state()
    before = {name: value.clone() for name, value in lvlm.model.state_dict().items()}
    lens, losses = train_tuned_lens(lvlm, task, steps=60, learning_rate=1e-2)
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert all(torch.equal(value, before[name]) for name, value in lvlm.model.state_dict().items())
    assert all(value.grad is None for value in lvlm.model.parameters())
    assert torch.equal(torch.get_rng_state(), state)

    plain, tuned = posteriors(lvlm, task), posteriors(lvlm, task, ProbeSpec(lens=lens))
    torch.testing.assert_close(plain.conditionals[-1], tuned.conditionals[-1])
    far, near = ((found.conditionals[2] - plain.conditionals[-1]).abs().mean() for found in (plain, tuned))
    assert near < far

    save_lens(lens, lvlm, tmp_path / "lens.safetensors")
    again = posteriors(lvlm, task, ProbeSpec(lens=load_lens(tmp_path / "lens.safetensors", lvlm)))
    assert torch.equal(again.conditionals, tuned.conditionals)
    with torch.no_grad():
        lvlm.model.lm_head.weight[0, 0] += 1
    with pytest.raises(InputError, match="other weights"):
        load_lens(tmp_path / "lens.safetensors", lvlm)
