"""ViP-LLaVA: LLaVA-1.5 with features of several layers of its CLIP tower side by side, and a norm in its projector."""

from typing import Any

from torch import nn

from fusionscope.lvlm.adapters import ProjectedAdapter
from fusionscope.lvlm.encoders import ExpandingEncoder
from fusionscope.lvlm.family import Family
from fusionscope.lvlm.miniatures import tokenizer
from fusionscope.lvlm.miniatures.llava import llava_config, llava_processor
from fusionscope.lvlm.packing import ImageInputs
from fusionscope.lvlm.prompt import PromptForm

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '###Human: ' }}"
    "{% elif message['role'] == 'assistant' %}{{ '###Assistant: ' }}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '###Assistant:' }}{% endif %}"
)
"""Renders as llava-hf/vip-llava-7b-hf's at revision 9de55182c053."""


class _Adapter(ProjectedAdapter):
    @property
    def drops_first_token(self) -> bool:
        """Always: the configuration does not say."""
        return True


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import VipLlavaConfig, VipLlavaForConditionalGeneration

    words = tokenizer(["<s>", "</s>", "<image>"], bos="<s>", template=CHAT_TEMPLATE)
    config = VipLlavaConfig(**llava_config(words), vision_feature_layer=[-2, 1])
    return VipLlavaForConditionalGeneration(config), llava_processor(words, CHAT_TEMPLATE)


FAMILY = Family(
    model_types=("vipllava",),
    adapter=_Adapter,
    prompt=PromptForm(image_text="<image>"),
    encoder=ExpandingEncoder,
    packing=ImageInputs(per_image=("pixel_values",)),
    miniature=_miniature,
)
