"""SmolVLM."""

import pytest
from family_tester import FamilyTester
from transformers.models.smolvlm import processing_smolvlm


class TestSmolVLM(FamilyTester):
    model_type = "smolvlm"
    answer = (" ", "<end_of_utterance>")
    processor_class = "SmolVLMProcessor"
    processor_settings = {"image_seq_len": 4}
    has_videos = True
    unread = ("rows", "cols")

    @pytest.fixture
    def processor(self, any_processor, monkeypatch):
        """Its processor writes numbers out in videos' prompts, with a package that need not be installed here."""
        monkeypatch.setattr(processing_smolvlm, "num2words", str)
        return self.whole_processor()
