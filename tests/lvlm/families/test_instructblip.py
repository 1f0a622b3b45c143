"""InstructBLIP."""

import pytest
from family_tester import ROWS, ImageFirstTester

from fusionscope.errors import ConfigError


class TestInstructBlip(ImageFirstTester):
    model_type = "instructblip"
    answer = ("", "</s>")
    end = "</s>"
    processor_class = "InstructBlipProcessor"
    processor_settings = {"num_query_tokens": 5}
    has_template = False
    packing_refused = "its Q-Former reads the question"

    def further_inputs(self, lvlm, ids, rendered):
        words = lvlm.processor.qformer_tokenizer(rendered.removeprefix("<image>"), return_tensors="pt")
        return {"qformer_input_ids": words["input_ids"], "qformer_attention_mask": words["attention_mask"]}

    def test_the_qformer_reads_the_question_and_not_the_answer(self, processor):
        batch = self.collator(processor)(ROWS)
        assert len(batch["qformer_input_ids"]) == len(batch["pixel_values"]) == 4
        read = processor.qformer_tokenizer.batch_decode(batch["qformer_input_ids"], skip_special_tokens=True)
        assert read == ["what is it ?", "what ?", "what ?", "say no"]
        # with a black image, which forward wants, and nothing supervised about it
        texts = self.collator(processor)([ROWS[1], ROWS[1]])
        assert len(texts["labels"]) == 3
        assert bool((texts["labels"][2] == -100).all())

    def test_what_a_processor_lacks_is_reported_before_training(self, processor):
        processor.num_query_tokens = None
        with pytest.raises(ConfigError, match=r"num_query_tokens=None"):
            self.collator(processor)
