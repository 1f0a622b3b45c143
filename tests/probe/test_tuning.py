"""A tuned lens trained on a task, inside a probe."""

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.lvlm import LVLM, miniature
from fusionscope.probe import ProbeSpec, posteriors
from fusionscope.probe.tuning import compare_lens, load_lens, new_lens, save_lens, train_tuned_lens


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


def test_a_lens_that_is_worse_than_none_is_refused_with_both_numbers(make_task):
    lvlm, task = LVLM.wrap(*miniature("llava")), make_task(n_images=4)
    lens = new_lens(lvlm)
    same = compare_lens(lvlm, task, lens)
    assert same.bits == pytest.approx(same.logit_bits, abs=1e-6)
    with torch.no_grad():
        lens.scale.add_(0.3 * torch.randn(lens.scale.shape, generator=torch.Generator().manual_seed(0)))
    worse = compare_lens(lvlm, task, lens)
    assert worse.bits > worse.logit_bits == pytest.approx(same.logit_bits)
    numbers = rf"{worse.bits:.3f} bits from the model's answer[\s\S]*logit lens is {worse.logit_bits:.3f} bits"
    with pytest.raises(InputError, match=numbers):
        posteriors(lvlm, task, ProbeSpec(lens=lens))
    posteriors(lvlm, task, ProbeSpec(lens=lens, layers="last"))  # where both are the model itself


def test_a_lens_needs_images_to_be_judged_on(make_task):
    with pytest.raises(InputError, match="pairs of 1 image"):
        train_tuned_lens(LVLM.wrap(*miniature("llava")), make_task(n_images=1), steps=1)
