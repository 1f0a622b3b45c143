"""Qwen3-VL: features of several vision layers are added to the first decoder layers at the image's tokens."""

from typing import Any

import torch
from torch import nn

from fusionscope.lvlm.adapters import Features, MropeAdapter
from fusionscope.lvlm.adapters.stream import flat
from fusionscope.lvlm.batch import Batch
from fusionscope.lvlm.encoders import ExpandingEncoder
from fusionscope.lvlm.family import Family, PartTable
from fusionscope.lvlm.miniatures import DECODER, PATCH, composed, mrope
from fusionscope.lvlm.miniatures.qwen import qwen_images, qwen_token_ids, qwen_tokenizer
from fusionscope.lvlm.packing import ImageInputs
from fusionscope.lvlm.prompt import PromptForm


class _Adapter(MropeAdapter):
    image_states = ("embeddings", "deepstack")

    def encode_image(self, pixels: Features) -> Features:
        outputs = self.image_features(pixels)
        return {
            "embeddings": flat(outputs.pooler_output),
            "deepstack": torch.stack([flat(level) for level in outputs.deepstack_features]),
            "image_grid_thw": pixels["image_grid_thw"],
        }

    def run(self, embeds: torch.Tensor, batch: Batch) -> Any:
        extra: dict[str, Any] = {}
        if batch.images:
            levels = torch.cat([image["deepstack"] for image in batch.images], dim=1)
            extra = {
                "visual_pos_masks": batch.ids.to(embeds.device) == self.image_token_id,
                "deepstack_visual_embeds": list(levels),
            }
        return self._decode(embeds, batch, **extra)


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    words = qwen_tokenizer()
    config = Qwen3VLConfig(
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "out_hidden_size": 48,
            "num_heads": 4,
            "intermediate_size": 64,
            "patch_size": PATCH,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0, 1],
        },
        text_config={**DECODER, "vocab_size": len(words), "head_dim": 12, "rope_parameters": mrope([2, 2, 2])},
        **qwen_token_ids(words),
    )
    return Qwen3VLForConditionalGeneration(config), composed(words, qwen_images())


FAMILY = Family(
    model_types=("qwen3_vl",),
    adapter=_Adapter,
    parts=PartTable(
        vision_tower=("model.visual",), projector=("model.visual.merger", "model.visual.deepstack_merger_list")
    ),
    prompt=PromptForm(image_text="<|image_pad|>"),
    encoder=ExpandingEncoder,
    packing=ImageInputs(per_token=("pixel_values",), per_image=("image_grid_thw",)),
    miniature=_miniature,
)
