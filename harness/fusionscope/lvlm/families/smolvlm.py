"""SmolVLM: tiles in rows and columns as in Idefics3, each announced by a token, and the whole image last."""

from typing import Any

from torch import nn

from fusionscope.lvlm.adapters import TiledAdapter
from fusionscope.lvlm.encoders import ExpandingEncoder
from fusionscope.lvlm.family import Family, PartTable
from fusionscope.lvlm.miniatures import composed
from fusionscope.lvlm.miniatures.idefics import IDEFICS_IMAGES, idefics_config, idefics_tokenizer
from fusionscope.lvlm.packing import ImageInputs
from fusionscope.lvlm.prompt import PromptForm


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMVisionConfig
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    words = idefics_tokenizer()
    config = SmolVLMConfig(**idefics_config(words, SmolVLMVisionConfig))
    return SmolVLMForConditionalGeneration(config), composed(words, SmolVLMImageProcessorPil(**IDEFICS_IMAGES))


FAMILY = Family(
    model_types=("smolvlm",),
    adapter=TiledAdapter,
    parts=PartTable(
        vision_tower=("model.vision_model",),
        projector=("model.connector",),
        language_model=("model.text_model", "lm_head"),
    ),
    prompt=PromptForm(image_text="<image>"),
    encoder=ExpandingEncoder,
    packing=ImageInputs(per_sample=("pixel_values", "pixel_attention_mask")),
    miniature=_miniature,
)
