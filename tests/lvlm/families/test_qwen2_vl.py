"""Qwen2-VL."""

import pytest
from family_tester import MropeTester

from fusionscope.errors import ConfigError, DataError
from fusionscope.lvlm import miniature


class TestQwen2VL(MropeTester):
    model_type = "qwen2_vl"
    has_start = False
    processor_class = "Qwen2VLProcessor"

    def test_what_a_processor_lacks_is_reported_before_training(self, processor):
        processor.image_processor = miniature("llava")[1].image_processor
        wanted = r"(?s)Qwen2VLProcessor cannot prepare a sample.*AttributeError.*merge_size"
        with pytest.raises(ConfigError, match=wanted):
            self.collator(processor)
        processor.chat_template = processor.chat_template.replace("<|image_pad|>", "")
        with pytest.raises(DataError, match=r"1 images and 0 marks '<\|image_pad\|>'"):
            self.collator(processor)
