"""LLaVA-1.5."""

import numpy as np
import pytest
import torch
from family_tester import LAYOUTS, MIXED, N_IMAGES, FamilyTester, distance, learning
from PIL import Image

from fusionscope.data.marked import Filling, Marked
from fusionscope.data.packing import pack
from fusionscope.errors import InputError
from fusionscope.lvlm import LVLM, miniature, packed_rows
from fusionscope.probe.engine.runner import expanded


class TestLlava(FamilyTester):
    model_type = "llava"
    answer = (" ", "")

    def test_prompt_is_what_the_processor_makes(self, lvlm):
        text = "What is this?\nA. cat\nB. dog"
        image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8))
        prompt = lvlm.prompt(text, ["A", "B"])
        rendered = lvlm.adapter.chat.render(text)
        wanted = lvlm.processor(images=image, text=rendered, return_tensors="pt")["input_ids"][0].tolist()
        features = lvlm.encode_images([image])[0]
        assert expanded(prompt.ids, lvlm.adapter.expand(features)) == wanted
        assert rendered.endswith("ASSISTANT:")
        assert [lvlm.tokenizer.decode(list(tail)) for tail in prompt.candidates] == [" A", " B"]
        start, end = lvlm.adapter.chat.span(text, text)
        assert lvlm.tokenizer.decode(list(prompt.ids[start:end])) == " " * rendered.startswith(" ") + text

    def test_images_laid_to_other_samples_are_noticed(self, processor):
        """The gradients that the tester compares do depend on which sample an image belongs to."""
        model = miniature(self.model_type)[0]
        rows = packed_rows(LVLM.wrap(model, processor).adapter)
        padded = Filling(self.collator(processor))([Marked(row=sample) for sample in MIXED])
        swapped = pack(padded, LAYOUTS[1], [2, 0, 1, 0, 1], rows)
        assert distance(learning(model, padded), learning(model, swapped)) > 1e-3
        assert distance(learning(model, padded), learning(model, pack(padded, LAYOUTS[1], N_IMAGES, rows))) < 1e-5

    def test_a_tower_of_varying_size_is_refused(self):
        lvlm = LVLM.wrap(*miniature(self.model_type))
        lvlm.model.config.vision_config.model_type = "pixtral"
        with pytest.raises(InputError, match="a LLaVA with a Pixtral tower"), torch.no_grad():
            lvlm.encode_images([Image.new("RGB", (32, 32))])
