"""SmolVLM."""

from family_tester import FamilyTester


class TestSmolVLM(FamilyTester):
    model_type = "smolvlm"
    answer = (" ", "<end_of_utterance>")
    processor_class = "SmolVLMProcessor"
    processor_settings = {"image_seq_len": 4}
    has_videos = True
    unread = ("rows", "cols")
