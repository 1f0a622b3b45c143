"""Odd images through models: training and probing give the model the same pixels, and name what it refuses."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from fusionscope.data import Collator
from fusionscope.data.marked import Filling, Marked
from fusionscope.errors import BadImageError, DataError
from fusionscope.lvlm import LVLM, family_of, miniature
from fusionscope.probe import ProbeSpec, probe
from fusionscope.sandbox.model import build_processor, write
from fusionscope.tasks import HeldOutTask, LazyImages, Question, open_image, uniform_weights

TURNS = [{"from": "human", "value": "<image>\nwhat ?"}, {"from": "gpt", "value": "red"}]


@pytest.fixture(scope="module")
def qwen():
    return LVLM.wrap(*miniature("qwen2_5_vl"))


def task_of(images):
    n = len(images)
    truth = torch.arange(2 * n).view(n, 2) % 2
    return HeldOutTask(
        name="odd",
        images=images,
        image_ids=[f"{i}.png" for i in range(n)],
        questions=[Question(text=text, candidates=("yes", "no")) for text in ("Is it red?", "Is it?")],
        answers=("yes", "no"),
        pairs=torch.cartesian_prod(torch.arange(n), torch.arange(2)),
        pair_answers=truth.flatten(),
        crossable=True,
        truth=truth,
        pair_weights={"uniform": uniform_weights(n, 2)},
    )


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_training_and_probing_give_the_model_the_same_pixels(images, tmp_path):
    """Through the whole of either: as files are opened, collated and prepared."""
    lvlm = LVLM.from_pretrained(str(write(tmp_path / "model", seed=0)))
    collate = Collator(build_processor(), family=family_of("llava"))
    for image in images:
        if image.pixels is not None:
            (tmp_path / image.name).write_bytes(image.content)
            probed = LazyImages.of([Image.open(tmp_path / image.name)])[0]
            trained = open_image(tmp_path / image.name, image.name)
            batch = collate([{"id": image.name, "image": trained, "conversations": TURNS}])
            (pixels,) = lvlm.adapter.process([probed])
            torch.testing.assert_close(batch["pixel_values"], pixels["pixel_values"], rtol=0, atol=0, msg=image.name)


TILED = ("llava_next", "llava_onevision", "internvl", "gemma3", "paligemma")


@pytest.mark.parametrize(
    ("model_type", "size"),
    [("llava", (3, 3)), *((model_type, size) for model_type in TILED for size in [(3, 3), (3, 9), (9, 3)])],
)
def test_tiny_images_keep_their_axes_and_channels(model_type, size):
    """Red above left, green above right, blue below left: what guesses the channel axis from sizes mixes them up."""
    image = Image.new("RGB", size)
    for place, colour in [((0, 0), "red"), ((size[0] - 1, 0), "lime"), ((0, size[1] - 1), "blue")]:
        image.putpixel(place, ImageColor.getrgb(colour))
    (pixels,) = LVLM.wrap(*miniature(model_type)).adapter.process([image])
    tiles = pixels["pixel_values"].flatten(0, -4)
    corners = tiles[:, :, [0, 0, -1], [0, -1, 0]].argmax(1)  # one of the tiles is the whole image
    assert [0, 1, 2] in corners.tolist()


@pytest.mark.parametrize("model_type", ["llava", "llava_next"])
@pytest.mark.parametrize("size", [(3, 3), (3, 9), (9, 3), (1, 5), (2000, 8)])
def test_tiny_and_thin_images_are_trained_as_they_are_probed(model_type, size):
    model, processor = miniature(model_type)
    batch = Collator(processor, family=family_of(model_type))(
        [{"id": "a", "image": noise(*size), "conversations": TURNS}]
    )
    (pixels,) = LVLM.wrap(model, processor).adapter.process([noise(*size)])
    torch.testing.assert_close(batch["pixel_values"], pixels["pixel_values"], rtol=0, atol=0)


def test_an_image_that_the_processor_refuses_is_named_when_probing(qwen):
    images = [noise(40, 30), noise(2000, 8), noise(30, 40, seed=1)]
    with pytest.raises(BadImageError, match=r"image '1\.png' \(2000 x 8\) is refused: absolute aspect ratio"):
        probe(qwen, task_of(images), ProbeSpec(layers="last"))
    with pytest.warns(UserWarning, match=r"1 images are refused by the model's processor and are left out: 1\.png"):
        results = probe(qwen, task_of(images), ProbeSpec(layers="last", max_bad_images=1))
    assert results[0].n_images == 2
    assert results[0].fingerprints["task"] == task_of(images).fingerprint
    two = [*images, noise(8, 2000)]
    with pytest.raises(DataError, match=r"2 of 4 images(?s:.*)1\.png, 3\.png(?s:.*)allows 1"):
        probe(qwen, task_of(two), ProbeSpec(layers="last", max_bad_images=1))


def test_unreadable_and_refused_images_have_one_budget(qwen):
    class Torn(list):
        def __getitem__(self, i):
            if i == 0:
                raise OSError("truncated")
            return super().__getitem__(i)

    task = task_of(Torn([None, noise(2000, 8), noise(40, 30), noise(30, 40)]))
    with (
        pytest.warns(UserWarning, match="cannot be read"),
        pytest.raises(DataError, match=r"1 of 3 images(?s:.*)refused(?s:.*)allows 0"),
    ):
        probe(qwen, task, ProbeSpec(layers="last", max_bad_images=1))
    with pytest.warns(UserWarning, match="are refused by the model's processor"):
        assert probe(qwen, task, ProbeSpec(layers="last", max_bad_images=2))[0].n_images == 2


def test_odd_texts_are_collated_or_refused_with_the_sample(texts):
    collate = Filling(Collator(build_processor(), max_length=256, family=family_of("llava")), skip_unfit=True)
    for name, text in texts.items():
        turns = [{"from": "human", "value": f"<image>\n{text}"}, {"from": "gpt", "value": "red"}]
        row = {"id": name, "image": noise(32, 32), "conversations": turns}
        (marked,), batch = collate.filled([Marked(row=row)])
        assert marked.counts or name in batch["unfit"][0]
        assert bool((batch["labels"][0] != -100).any()) is marked.counts
