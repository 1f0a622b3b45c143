"""Qwen3-VL."""

from family_tester import MropeTester


class TestQwen3VL(MropeTester):
    model_type = "qwen3_vl"
    has_start = False
    processor_class = "Qwen3VLProcessor"
