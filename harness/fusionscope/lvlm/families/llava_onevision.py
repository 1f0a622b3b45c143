"""LLaVA-OneVision: tiles by resolution as in LLaVA-NeXT, with pooling above nine of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from fusionscope.lvlm.adapters import StreamAdapter
from fusionscope.lvlm.encoders import Encoded, ExpandingEncoder, Images, Rendered
from fusionscope.lvlm.family import Family, PartTable
from fusionscope.lvlm.miniatures import DECODER, SIDES, VISION, composed, tokenizer
from fusionscope.lvlm.packing import ImageInputs
from fusionscope.lvlm.prompt import PromptForm

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + content['text'] }}"
    "{% endfor %}{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""llava-hf/llava-onevision-qwen2-0.5b-ov-hf."""


class _Encoder(ExpandingEncoder):
    """Counts images for every sample: the processor leaves out samples without, which packing must place too."""

    def __call__(self, rendered: Sequence[Rendered], images: Images) -> Encoded:
        encoded = super().__call__(rendered, images)
        if "batch_num_images" not in encoded.inputs:
            return encoded
        counts = torch.tensor([len(some) for some in images])
        return replace(encoded, inputs={**encoded.inputs, "batch_num_images": counts})


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

    words = tokenizer(["<|im_start|>", "<|im_end|>", "<image>", "<video>"], template=CHAT_TEMPLATE)
    grid = [[32, 32], [32, 64], [64, 32], [64, 64]]
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(vision_use_head=False, **VISION),
        text_config=Qwen2Config(vocab_size=len(words), **DECODER),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    images = LlavaOnevisionImageProcessorPil(size=SIDES, image_grid_pinpoints=grid)
    return LlavaOnevisionForConditionalGeneration(config), composed(words, images)


FAMILY = Family(
    model_types=("llava_onevision",),
    adapter=StreamAdapter,
    parts=PartTable(projector=("model.multi_modal_projector", "model.image_newline")),
    prompt=PromptForm(image_text="<image>"),
    encoder=_Encoder,
    packing=ImageInputs(per_image=("pixel_values", "image_sizes"), per_sample=("batch_num_images",)),
    miniature=_miniature,
)
