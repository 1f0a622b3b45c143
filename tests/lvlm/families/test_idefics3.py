"""Idefics3."""

from family_tester import FamilyTester


class TestIdefics3(FamilyTester):
    model_type = "idefics3"
    answer = (" ", "<end_of_utterance>")
    processor_class = "Idefics3Processor"
    processor_settings = {"image_seq_len": 4}
    unread = ("rows", "cols")
