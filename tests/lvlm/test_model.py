"""The interface to a model: lens, cache, errors, and that the model is left alone."""

import numpy as np
import pytest
import torch
from PIL import Image

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.lens import LogitLens, option_logits
from fusionscope.lvlm import LVLM, FeatureCache, miniature, undisturbed
from fusionscope.lvlm.batch import stack
from fusionscope.probe.engine.runner import expanded


def noise_image(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 48, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def lvlm() -> LVLM:
    return LVLM.wrap(*miniature("llava"))


def test_logit_lens_at_the_last_layer_is_the_model(lvlm):
    image, prompt = noise_image(1), lvlm.prompt("Red?", ["yes", "no"])
    features = lvlm.encode_images([image])[0]
    ids = expanded(prompt.ids, lvlm.adapter.expand(features))
    batch = stack([ids], [torch.arange(len(ids))], pad_id=0, images=[features])
    with undisturbed(lvlm.model):
        hidden = lvlm.read(batch, [0, 3], torch.tensor([[-1]]))
        mine = LogitLens(norm=lvlm.final_norm, head=lvlm.head)(hidden[3], 3)[0, 0]
        pixels = lvlm.processor.image_processor(images=[image], return_tensors="pt")["pixel_values"]
        theirs = lvlm.model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0, -1]
        words = lvlm.model.get_input_embeddings()(torch.tensor(ids[-1]))
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(hidden[0][0, 0], words)
    chosen, total = option_logits(theirs, torch.tensor([5, 7]))
    torch.testing.assert_close((chosen - total).exp(), theirs.softmax(-1)[[5, 7]])


def test_feature_cache_opens_no_image_twice_and_notices_training(lvlm):
    cache, opened = FeatureCache(), []

    class Watched(list):
        def __getitem__(self, i):
            opened.append(i)
            return noise_image(i)

    images = Watched([None] * 3)
    first = lvlm.encode_images(images, ["a", "b", "c"], cache)
    again = lvlm.encode_images(images, ["a", "b", "c"], cache)
    assert opened == [0, 1, 2]
    assert cache.hits == 3
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one["embeddings"], two["embeddings"])
    weight = next(lvlm.model.model.vision_tower.parameters())
    with torch.no_grad():
        weight.view(-1)[0] += 1e-3
    changed = lvlm.encode_images(images, ["a", "b", "c"], cache)
    with torch.no_grad():
        weight.view(-1)[0] -= 1e-3
    assert opened == [0, 1, 2] * 2
    assert not torch.equal(first[0]["embeddings"], changed[0]["embeddings"])


def test_the_projector_may_train_while_features_stay(lvlm):
    cache = FeatureCache()
    before = lvlm.encode_images([noise_image(0)], ["a"], cache)[0]["embeddings"]
    bias = lvlm.model.model.multi_modal_projector.linear_2.bias
    with torch.no_grad():
        bias += 1.0
    after = lvlm.encode_images([noise_image(0)], ["a"], cache)[0]["embeddings"]
    with torch.no_grad():
        bias -= 1.0
    assert cache.hits == 1
    torch.testing.assert_close(after, before + 1)


def test_errors_name_the_fix(lvlm):
    model, processor = miniature("llava")
    processor.chat_template = processor.tokenizer.chat_template = None
    with pytest.raises(InputError, match=r"no chat template[\s\S]*Fix: set processor.chat_template"):
        LVLM.wrap(model, processor).prompt("x", ["A"])
    with pytest.raises(InputError, match="2 images in the conversation"):
        lvlm.prompt("look at <image> again", ["A"])
    with pytest.raises(InputError, match="has no image_processor"):
        LVLM.wrap(
            model,
            processor.tokenizer if hasattr(processor.tokenizer, "tokenizer") else type("P", (), {"tokenizer": 1})(),
        )
    with pytest.raises(UnknownNameError, match=r"layers \[9\][\s\S]*0 \(input embeddings\) to 3"):
        lvlm.layer_numbers([9])
    assert lvlm.layer_numbers("all") == (0, 1, 2, 3)
    assert lvlm.layer_numbers([-1, 0]) == (0, 3)


def test_the_model_is_left_as_found_even_after_an_error(lvlm):
    lvlm.model.train()
    lvlm.model.model.vision_tower.eval()
    modes = [module.training for module in lvlm.model.modules()]
    state = torch.get_rng_state()
    with undisturbed(lvlm.model):
        assert not any(module.training for module in lvlm.model.modules())
    with pytest.raises(RuntimeError, match="boom"), undisturbed(lvlm.model):
        raise RuntimeError("boom")
    assert [module.training for module in lvlm.model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    lvlm.model.eval()

    features = lvlm.encode_images([noise_image(0)])[0]
    ids = expanded(lvlm.prompt("x", ["A"]).ids, lvlm.adapter.expand(features))
    batch = stack([ids], [torch.arange(len(ids))], pad_id=0, images=[features, features])
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lvlm.adapter.layers)
    with pytest.raises(InputError, match="16 image tokens for 32 image embeddings"):
        lvlm.read(batch, [0, 1], torch.tensor([[-1]]))
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lvlm.adapter.layers) == hooks


def test_features_on_disk_serve_a_later_process(lvlm, tmp_path):
    first = lvlm.encode_images([noise_image(0)], ["a"], FeatureCache(max_bytes=0, directory=tmp_path))
    later = FeatureCache(max_bytes=0, directory=tmp_path)
    again = lvlm.encode_images([None], ["a"], later)
    assert later.hits == 1
    assert torch.equal(first[0]["embeddings"], again[0]["embeddings"])
