"""ViP-LLaVA."""

import torch
from family_tester import FamilyTester, plain_image


class TestVipLlava(FamilyTester):
    model_type = "vipllava"
    answer = (" ", "")

    def test_features_of_several_layers_lie_side_by_side(self, lvlm):
        """As the model's own function lays them, whose hooks stay on."""
        pixels = lvlm.adapter.process([plain_image((200, 9, 9))])
        with torch.no_grad():
            features = lvlm.adapter.encode_images(pixels)
            model = lvlm.model.model
            layers = model.config.vision_feature_layer
            hidden = model.vision_tower(pixels[0]["pixel_values"], output_hidden_states=True).hidden_states
        wanted = torch.cat([hidden[layer][0, 1:] for layer in layers], dim=-1)
        assert len(layers) == 2
        torch.testing.assert_close(features[0]["features"], wanted)
