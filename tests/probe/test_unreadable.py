"""Damaged pictures, precisions and devices."""

from dataclasses import replace

import pytest
import torch

from fusionscope.errors import BadImageError, DataError, InputError
from fusionscope.lvlm import LVLM, miniature
from fusionscope.probe import ProbeSpec, posteriors, probe


class Torn(list):
    """Some pictures do not open."""

    def __init__(self, images, bad):
        super().__init__([images[i] for i in range(len(images))])
        self.bad = bad

    def __getitem__(self, i):
        if i in self.bad:
            raise BadImageError(f"image {i!r} cannot be read", "it is no picture", "restore the file")
        return super().__getitem__(i)


def test_damaged_pictures_are_named_counted_and_capped(llava, make_task):
    whole = make_task(n_images=4)
    torn = replace(whole, images=Torn(whole.images, {1}))
    with pytest.raises(DataError, match="image 1 cannot be read"):
        probe(llava, torn)
    with pytest.warns(UserWarning, match=r"1 images cannot be read and are left out: 1\.png"):
        results = probe(llava, torn, ProbeSpec(max_bad_images=1, layers="last"))
    assert (results[0].n_images, results[0].n) == (3, 9)
    kept = posteriors(llava, whole, ProbeSpec(layers="last")).conditionals[0, [0, 2, 3]]
    right = (kept.argmax(-1) == whole.truth[[0, 2, 3]]).double().mean()
    assert results[0].accuracy == pytest.approx(float(right))
    worse = replace(whole, images=Torn(whole.images, {0, 2}))
    with pytest.raises(DataError, match=r"2 of 4 images[\s\S]*0\.png, 2\.png[\s\S]*max_bad_images allows 1"):
        probe(llava, worse, ProbeSpec(max_bad_images=1))


def test_a_crossed_task_without_natural_pairs_loses_images_too(llava, make_task):
    nothing = torch.zeros((0, 2), dtype=torch.int64)
    whole = make_task(n_images=4, pairs=nothing, pair_answers=nothing[:, 0])
    with pytest.warns(UserWarning, match="1 images"):
        found = posteriors(llava, replace(whole, images=Torn(whole.images, {1})), ProbeSpec(max_bad_images=1))
    assert found.conditionals.shape[1] == 3


def test_half_precision_stays_close(make_task):
    model, processor = miniature("llava")
    task = make_task()
    exact = posteriors(LVLM.wrap(model, processor), task, ProbeSpec(layers="last")).conditionals
    half = posteriors(LVLM.wrap(model.to(torch.bfloat16), processor), task, ProbeSpec(layers="last"))
    assert half.conditionals.dtype == torch.float64
    assert (half.conditionals - exact).abs().mean() < 0.05
    assert (half.conditionals.sum(-1) - 1).abs().max() < 1e-9


def test_device_map_passes_through(make_task, tmp_path):
    model, processor = miniature("llava")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    task = make_task()
    wanted = posteriors(LVLM.wrap(model, processor), task).conditionals
    offloaded = LVLM.from_pretrained(
        str(tmp_path),
        device_map={
            "model.vision_tower": "cpu",
            "model.multi_modal_projector": "cpu",
            "model.language_model": "cpu",
            "lm_head": "disk",
        },
        offload_folder=str(tmp_path / "offload"),
    )
    torch.testing.assert_close(posteriors(offloaded, task).conditionals, wanted, atol=1e-5, rtol=0)


def test_image_tokens_are_counted_from_the_features(make_task):
    model, processor = miniature("llava")
    model.config.vision_feature_select_strategy = "full"
    found = posteriors(LVLM.wrap(model, processor), make_task(n_images=2), ProbeSpec(layers="last"))
    assert found.conditionals.shape == (1, 2, 3, 2), "tokens are counted from the features, not from the processor"
    with pytest.raises(InputError, match="no image_processor"):
        LVLM.wrap(model, type("P", (), {"tokenizer": processor.tokenizer, "image_processor": None})())
