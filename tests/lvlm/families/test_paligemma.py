"""PaliGemma."""

import pytest
import torch
from family_tester import ROWS, ImageFirstTester, row

from fusionscope.errors import ConfigError


class TestPaliGemma(ImageFirstTester):
    model_type = "paligemma"
    answer = ("", "<pad>")
    end = "<pad>"
    processor_class = "PaliGemmaProcessor"
    has_template = False
    packing_refused = "in both directions"

    def further_inputs(self, lvlm, ids, rendered):
        return {"token_type_ids": torch.zeros_like(ids)}

    @pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # in its own processor
    def test_it_sees_both_ways_up_to_the_first_answer(self, processor):
        batch = self.collator(processor)(ROWS)
        for ids, kinds, labels in zip(batch["input_ids"], batch["token_type_ids"], batch["labels"], strict=True):
            first = (labels != -100).nonzero().min()
            assert kinds.tolist() == [0] * first + [1] * (len(kinds) - first)
            assert processor.tokenizer.decode(ids[:first]).endswith("\n")
        theirs = processor(images=ROWS[0]["image"], text="<image>what ?", suffix="yes", return_tensors="pt")
        ours = self.collator(processor)([row("a", ROWS[0]["image"], "<image>\nwhat ?", "yes")])
        for name in ("input_ids", "token_type_ids", "labels", "attention_mask", "pixel_values"):
            assert torch.equal(theirs[name], ours[name]), name

    def test_what_a_processor_lacks_is_reported_before_training(self, processor):
        processor.tokenizer.eos_token = None
        with pytest.raises(ConfigError, match=r"(?s)template='chat'.*no eos_token.*set it"):
            self.collator(processor)
