"""Qwen2.5-VL."""

import json

import pytest
import torch
from family_tester import MropeTester

from fusionscope.errors import InputError
from fusionscope.lvlm import LVLM, load_processor, miniature
from fusionscope.probe import ProbeSpec, posteriors


class TestQwen25VL(MropeTester):
    model_type = "qwen2_5_vl"
    has_start = False
    processor_class = "Qwen2_5_VLProcessor"

    def test_a_processor_whose_video_part_needs_torchvision_is_composed(self, task, tmp_path):
        """As the published directories are: the class named in them lists a video processor."""
        lvlm = LVLM.wrap(*miniature(self.model_type))
        lvlm.model.save_pretrained(tmp_path)
        lvlm.processor.save_pretrained(tmp_path)
        for file, changes in (
            ("preprocessor_config.json", {"image_processor_type": "Qwen2VLImageProcessor"}),
            ("tokenizer_config.json", {}),
        ):
            settings = json.loads((tmp_path / file).read_text())
            settings |= changes | {"processor_class": "Qwen2_5_VLProcessor"}
            (tmp_path / file).write_text(json.dumps(settings))
        again = LVLM.from_pretrained(str(tmp_path))
        assert again.tokenizer.chat_template == lvlm.tokenizer.chat_template
        torch.testing.assert_close(
            posteriors(again, task, ProbeSpec(layers="last")).conditionals,
            posteriors(lvlm, task, ProbeSpec(layers="last")).conditionals,
            atol=1e-5,
            rtol=0,
        )
        with pytest.raises(InputError, match=r"does not load[\s\S]*in parts[\s\S]*pass processor="):
            load_processor(str(tmp_path / "nothing"))
