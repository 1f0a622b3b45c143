"""Fuyu."""

import pytest
import torch
from family_tester import ImageFirstTester, plain_image, row
from transformers import PreTrainedTokenizerFast

from fusionscope.errors import ConfigError
from fusionscope.lvlm.miniatures import tokenizer


class TestFuyu(ImageFirstTester):
    model_type = "fuyu"
    answer = ("", "<pad>")
    end = "<pad>"
    start = "<s>"
    processor_class = "FuyuProcessor"
    has_template = False
    packing_refused = "patches find their places"
    unread = ("columns",)

    def own_pixels(self, pixels):
        return {"pixel_values": pixels["pixel_values"][None]}

    def test_patches_are_laid_out_as_its_processor_does(self, processor):
        image = plain_image((9, 90, 90), (40, 24))
        ours = self.collator(processor)([row("a", [image], "<image>\nwhat ?", "yes")])
        assert ours["pixel_values"].shape == (5 * 3, 3 * 8 * 8)
        full_image = plain_image((9, 90, 90), (48, 32))
        full_image.paste((200, 9, 9), (8, 0, 48, 8))
        outputs = processor.image_processor(images=[full_image], return_tensors="np")["images"][0]
        theirs = processor.image_processor.patchify_image(outputs)
        patches = self.collator(processor)([row("a", [full_image], "<image>\nwhat ?", "yes")])["pixel_values"]
        assert torch.equal(torch.as_tensor(theirs), patches)
        head = (ours["input_ids"] == processor.tokenizer.convert_tokens_to_ids("<s>")).nonzero()[0, 1] + 1
        shown = processor.replace_image_token({}, 0, num_patches=15, row_width=5)
        assert processor.tokenizer.decode(ours["input_ids"][0, :head]) == shown

    def test_what_a_processor_lacks_is_reported_before_training(self, processor):
        processor.tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer(["|SPEAKER|"])._tokenizer)
        with pytest.raises(ConfigError, match=r"no token '<s>'"):
            self.collator(processor)
