"""Cached features: what they are told apart by, and how they are kept."""

import pytest
import torch
from PIL import Image

from fusionscope.errors import InputError
from fusionscope.lvlm import LVLM, FeatureCache, miniature

PICTURES = [Image.linear_gradient("L").resize((40, 48)).convert("RGB")]


def test_one_tower_read_otherwise_has_other_features():
    """The same frozen tower serves many models; the layer and the pixels that they read differ."""
    cache = FeatureCache()
    model, processor = miniature("llava")
    LVLM.wrap(model, processor).encode_images(PICTURES, ["a"], cache)
    other, its_processor = miniature("llava")
    other.config.vision_feature_layer = -1
    lvlm = LVLM.wrap(other, its_processor)
    found = lvlm.encode_images(PICTURES, ["a"], cache)
    assert cache.hits == 0
    assert torch.equal(found[0]["embeddings"], lvlm.encode_images(PICTURES)[0]["embeddings"])
    its_processor.image_processor.image_mean = [0.1, 0.2, 0.3]
    lvlm.encode_images(PICTURES, ["a"], cache)
    assert cache.hits == 0
    lvlm.encode_images(PICTURES, ["a"], cache)
    assert cache.hits == 1


def test_what_was_read_from_disk_is_not_read_again(tmp_path):
    FeatureCache(directory=tmp_path).put(("w", "a"), {"features": torch.ones(3)})
    later = FeatureCache(directory=tmp_path)
    assert later.get(("w", "a")) is not None
    for file in tmp_path.iterdir():
        file.unlink()
    assert torch.equal(later.get(("w", "a"))["features"], torch.ones(3))
    assert later.nbytes == 12


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(InputError, match=r"cannot be written to[\s\S]*No space left[\s\S]*make room"):
        FeatureCache(directory=tmp_path).put(("w", "a"), {"features": torch.ones(3)})
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named(tmp_path):
    FeatureCache(directory=tmp_path).put(("w", "a"), {"features": torch.ones(3)})
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(InputError, match=rf"{file.name} is damaged[\s\S]*delete it"):
        FeatureCache(directory=tmp_path).get(("w", "a"))


def test_no_graph_of_the_tower_is_kept():
    """It would be there for every image until the last one is let go."""
    assert not LVLM.wrap(*miniature("llava")).encode_images(PICTURES)[0]["embeddings"].requires_grad
