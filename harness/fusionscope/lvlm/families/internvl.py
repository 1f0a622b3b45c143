"""InternVL 2.5 and 3 (the -hf checkpoints): tiles through a pixel shuffle."""

from typing import Any, ClassVar

from torch import nn

from fusionscope.lvlm.adapters import StreamAdapter
from fusionscope.lvlm.encoders import LeadingImageEncoder
from fusionscope.lvlm.family import Family
from fusionscope.lvlm.miniatures import DECODER, IMAGE_SIZE, PATCH, SIDES, composed, tokenizer
from fusionscope.lvlm.packing import ImageInputs
from fusionscope.lvlm.prompt import PromptForm

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""OpenGVLab/InternVL3-1B-hf."""


class _Adapter(StreamAdapter):
    """Its processor asks for tiles though the image processor's own default is one: set
    ``processor.images_kwargs = {"crop_to_patches": False}`` for one.
    """

    image_settings: ClassVar = {"crop_to_patches": True}
    layout_only = ("num_patches",)


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLVisionConfig, Qwen2Config
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    specials = ["<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
    words = tokenizer(specials, template=CHAT_TEMPLATE)
    vision = InternVLVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=[IMAGE_SIZE, IMAGE_SIZE],
        patch_size=[PATCH, PATCH],
    )
    config = InternVLConfig(
        vision_config=vision,
        text_config=Qwen2Config(vocab_size=len(words), **DECODER),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        downsample_ratio=0.5,
    )
    images = GotOcr2ImageProcessorPil(size=SIDES, crop_to_patches=True, min_patches=1, max_patches=4)
    return InternVLForConditionalGeneration(config), composed(words, images)


FAMILY = Family(
    model_types=("internvl",),
    adapter=_Adapter,
    prompt=PromptForm(image_text="<IMG_CONTEXT>", image_frame="<img><IMG_CONTEXT></img>"),
    encoder=LeadingImageEncoder,
    packing=ImageInputs(per_token=("pixel_values",)),
    miniature=_miniature,
)
