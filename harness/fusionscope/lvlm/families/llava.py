"""LLaVA-1.5 and what shares its class: a CLIP or SigLIP tower, a two-layer projector, any decoder."""

from typing import Any

from torch import nn

from fusionscope.lvlm.adapters import ProjectedAdapter
from fusionscope.lvlm.chat_templates import LLAVA
from fusionscope.lvlm.encoders import ExpandingEncoder
from fusionscope.lvlm.family import Family
from fusionscope.lvlm.miniatures import DECODER, IMAGE_SIZE, PATCH, SIDES, VISION, tokenizer
from fusionscope.lvlm.packing import ImageInputs
from fusionscope.lvlm.prompt import PromptForm


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    words = tokenizer(["<s>", "</s>", "<image>"], bos="<s>", template=LLAVA)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(projection_dim=32, **VISION),
        text_config=LlamaConfig(vocab_size=len(words), **DECODER),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=SIDES),
        tokenizer=words,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA,
    )
    return LlavaForConditionalGeneration(config), processor


FAMILY = Family(
    model_types=("llava",),
    adapter=ProjectedAdapter,
    prompt=PromptForm(image_text="<image>"),
    encoder=ExpandingEncoder,
    packing=ImageInputs(per_image=("pixel_values",)),
    miniature=_miniature,
)
