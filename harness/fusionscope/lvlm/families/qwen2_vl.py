"""Qwen2-VL: any resolution, positions in time, height and width."""

from typing import Any

from torch import nn

from fusionscope.lvlm.adapters import MropeAdapter
from fusionscope.lvlm.encoders import ExpandingEncoder
from fusionscope.lvlm.family import Family, PartTable
from fusionscope.lvlm.miniatures import DECODER, PATCH, composed, mrope
from fusionscope.lvlm.miniatures.qwen import qwen_images, qwen_token_ids, qwen_tokenizer
from fusionscope.lvlm.packing import ImageInputs
from fusionscope.lvlm.prompt import PromptForm


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    words = qwen_tokenizer()
    config = Qwen2VLConfig(
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 48,
            "num_heads": 4,
            "mlp_ratio": 2,
            "patch_size": PATCH,
        },
        text_config={**DECODER, "vocab_size": len(words), "rope_parameters": mrope([2, 2, 2])},
        **qwen_token_ids(words),
    )
    return Qwen2VLForConditionalGeneration(config), composed(words, qwen_images())


FAMILY = Family(
    model_types=("qwen2_vl",),
    adapter=MropeAdapter,
    parts=PartTable(vision_tower=("model.visual",), projector=("model.visual.merger",)),
    prompt=PromptForm(image_text="<|image_pad|>"),
    encoder=ExpandingEncoder,
    packing=ImageInputs(per_token=("pixel_values",), per_image=("image_grid_thw",)),
    miniature=_miniature,
)
