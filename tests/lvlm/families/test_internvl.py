"""InternVL."""

import pytest
import torch
from family_tester import FamilyTester
from PIL import Image

from fusionscope.errors import MissingDependencyError
from fusionscope.lvlm import LVLM, ComposedProcessor, miniature


class TestInternVL(FamilyTester):
    model_type = "internvl"
    has_start = False
    answer = ("", "<|im_end|>")
    processor_class = "InternVLProcessor"
    processor_settings = {"image_seq_length": 4}
    has_videos = True
    named_tokens = {
        "start_image": "<img>",
        "end_image": "</img>",
        "context_image": "<IMG_CONTEXT>",
        "video": "<video>",
    }
    unread = ("num_patches",)

    def test_tiles_are_cut_as_the_processor_asks(self):
        """The image processor's own default is a single tile."""
        model, processor = miniature(self.model_type)
        image = Image.linear_gradient("L").resize((64, 32)).convert("RGB")
        tiled = LVLM.wrap(model, processor).encode_images([image])[0]["embeddings"]
        processor.image_processor.crop_to_patches = False
        lvlm = LVLM.wrap(model, processor)
        assert torch.equal(lvlm.encode_images([image])[0]["embeddings"], tiled)
        processor.images_kwargs = {"crop_to_patches": False}
        assert len(lvlm.encode_images([image])[0]["embeddings"]) < len(tiled)

    def test_parts_of_a_processor_are_not_enough_for_training(self):
        parts = miniature(self.model_type)[1]
        with pytest.raises(MissingDependencyError, match=r"(?s)ComposedProcessor.*torchvision"):
            self.collator(parts)
        known = ComposedProcessor(
            tokenizer=parts.tokenizer, image_processor=parts.image_processor, reason="no num2words"
        )
        with pytest.raises(MissingDependencyError, match=r"(?s)as a whole here.*: no num2words.*pip install"):
            self.collator(known)
