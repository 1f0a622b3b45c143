"""Gemma 3."""

import pytest
import torch
from family_tester import ROWS, FamilyTester, plain_image, row

from fusionscope.errors import DataError
from fusionscope.lvlm import miniature
from fusionscope.stages.loss import summed_loss


class TestGemma3(FamilyTester):
    model_type = "gemma3"
    answer = ("", "<end_of_turn>")
    processor_class = "Gemma3Processor"
    processor_settings = {"image_seq_length": 4}
    named_tokens = {"boi": "<start_of_image>", "eoi": "<end_of_image>", "image": "<image_soft_token>"}
    packing_refused = "see each other by token_type_ids"
    unread = ("num_crops",)

    def further_inputs(self, lvlm, ids, rendered):
        return {"token_type_ids": (ids == lvlm.adapter.image_token_id).int()}

    def test_it_sees_its_images_both_ways(self, processor):
        model = miniature(self.model_type)[0]
        batch = self.collator(processor)(ROWS)
        assert torch.equal(batch["token_type_ids"] == 1, batch["input_ids"] == model.config.image_token_id)
        causal = {name: value for name, value in batch.items() if name != "token_type_ids"}
        assert abs(summed_loss(model, batch)[0] - summed_loss(model, causal)[0]) > 1e-3
        with pytest.raises(DataError, match="image tokens after position 20"):
            # its placeholder stands before, its last token after
            self.collator(processor, max_length=20)([ROWS[3]])

    def test_a_mark_in_a_samples_words_is_refused_by_its_name(self, processor):
        odd = row("odd", [plain_image((0, 0, 0))], "<image>\na <start_of_image> ?", "yes")
        wanted = r"(?s)'odd' has 1 images and 2 marks '<start_of_image>'.*out of the sample"
        with pytest.raises(DataError, match=wanted):
            self.collator(processor)([odd])
