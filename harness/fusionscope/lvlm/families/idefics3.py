"""Idefics3: tiles in rows and columns, each announced by a token, and the whole image last."""

from typing import Any

from torch import nn

from fusionscope.lvlm.adapters import TiledAdapter
from fusionscope.lvlm.encoders import LeadingImageEncoder
from fusionscope.lvlm.family import Family, PartTable
from fusionscope.lvlm.miniatures import composed
from fusionscope.lvlm.miniatures.idefics import IDEFICS_IMAGES, idefics_config, idefics_tokenizer
from fusionscope.lvlm.packing import ImageInputs
from fusionscope.lvlm.prompt import PromptForm

PER_SAMPLE = ("pixel_values", "pixel_attention_mask")


class _Encoder(LeadingImageEncoder):
    per_sample = PER_SAMPLE


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3VisionConfig
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    words = idefics_tokenizer()
    config = Idefics3Config(**idefics_config(words, Idefics3VisionConfig))
    return Idefics3ForConditionalGeneration(config), composed(words, Idefics3ImageProcessorPil(**IDEFICS_IMAGES))


FAMILY = Family(
    model_types=("idefics3",),
    adapter=TiledAdapter,
    parts=PartTable(
        vision_tower=("model.vision_model",),
        projector=("model.connector",),
        language_model=("model.text_model", "lm_head"),
    ),
    prompt=PromptForm(image_text="<image>"),
    encoder=_Encoder,
    packing=ImageInputs(per_sample=PER_SAMPLE),
    miniature=_miniature,
)
