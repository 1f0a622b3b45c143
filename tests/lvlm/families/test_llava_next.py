"""LLaVA-NeXT."""

import torch
from family_tester import FamilyTester

from fusionscope.lvlm import weights_fingerprint


class TestLlavaNext(FamilyTester):
    model_type = "llava_next"
    answer = (" ", "")

    def test_the_newline_counts_among_what_sees(self, lvlm):
        """Its embedding is a parameter and no module, and decides cached features all the same."""
        before = weights_fingerprint(lvlm.adapter.vision_modules)
        newline = lvlm.model.model.image_newline
        with torch.no_grad():
            newline += 1.0
        assert weights_fingerprint(lvlm.adapter.vision_modules) != before
        with torch.no_grad():
            newline -= 1.0
