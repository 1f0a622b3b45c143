"""LLaVA-1.5 and what shares its class: a CLIP or SigLIP tower, a two-layer projector, any decoder."""

from typing import Any

from torch import nn

from fusionscope.lvlm.adapters import ProjectedAdapter
from fusionscope.lvlm.chat_templates import LLAVA
from fusionscope.lvlm.encoders import ExpandingEncoder
from fusionscope.lvlm.family import Family
from fusionscope.lvlm.miniatures import tokenizer
from fusionscope.lvlm.miniatures.llava import llava_config, llava_processor
from fusionscope.lvlm.packing import ImageInputs
from fusionscope.lvlm.prompt import PromptForm


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    words = tokenizer(["<s>", "</s>", "<image>"], bos="<s>", template=LLAVA)
    config = LlavaConfig(**llava_config(words), vision_feature_select_strategy="default", vision_feature_layer=-2)
    return LlavaForConditionalGeneration(config), llava_processor(words, LLAVA)


FAMILY = Family(
    model_types=("llava",),
    adapter=ProjectedAdapter,
    prompt=PromptForm(image_text="<image>"),
    encoder=ExpandingEncoder,
    packing=ImageInputs(per_image=("pixel_values",)),
    miniature=_miniature,
)
