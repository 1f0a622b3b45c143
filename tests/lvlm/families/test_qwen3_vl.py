"""Qwen3-VL."""

from family_tester import MropeTester


class TestQwen3VL(MropeTester):
    model_type = "qwen3_vl"
    processor_class = "Qwen3VLProcessor"
