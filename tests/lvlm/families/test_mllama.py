"""Llama 3.2 Vision."""

import pytest
import torch
from family_tester import ROWS, FamilyTester

from fusionscope.lvlm import miniature
from fusionscope.stages.loss import summed_loss


class TestMllama(FamilyTester):
    model_type = "mllama"
    answer = ("", "<|eot_id|>")
    packing_refused = "cross-attention"
    depends_on_company = True

    def test_it_says_when_company_changes_a_loss(self, processor):
        """transformers lets a token before its sample's image attend to the row's images, empty ones too."""
        model, collate = miniature(self.model_type)[0], self.collator(processor)
        with pytest.warns(UserWarning, match=r"samples with \[0, 1\] images in one batch.*group_by_length"):
            batch = collate(ROWS[:2])
        assert batch["cross_attention_mask"][1].sum() == 0
        place = (batch["input_ids"][0] == processor.image_token_id).nonzero().item()
        assert batch["cross_attention_mask"][0, :place].sum() == 0
        assert bool((batch["cross_attention_mask"][0, place:].sum((1, 2)) == 2).all())  # its two tiles
        with torch.no_grad():
            labels = batch["labels"].clone()
            labels[0] = -100
            among = summed_loss(model, {**batch, "labels": labels})[0]
            assert abs(among - summed_loss(model, collate(ROWS[1:2]))[0]) > 1e-4
