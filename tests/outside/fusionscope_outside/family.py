"""Prism: LLaVA with a gated projector behind a norm, an architecture that neither transformers nor fusionscope has.

Loading this module registers its classes with transformers, so that a directory of such a model loads by its name.
"""

from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaModel,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from fusionscope.lvlm import ExpandingEncoder, Family, ImageInputs, PartTable, ProjectedAdapter, PromptForm
from fusionscope.lvlm.miniatures import DECODER, IMAGE_SIZE, PATCH, SIDES, VISION, tokenizer

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% for content in message['content'] %}"
    "{{ '<image>' if content['type'] == 'image' else content['text'] }}"
    "{% endfor %}{{ '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


class PrismConfig(LlavaConfig):
    model_type = "prism"


class PrismProjector(nn.Module):
    """Norm, then a linear map whose output a second one gates."""

    def __init__(self, config: PrismConfig) -> None:
        super().__init__()
        vision = config.vision_config.hidden_size
        text = config.text_config.hidden_size
        self.norm = nn.LayerNorm(vision)
        self.value = nn.Linear(vision, text)
        self.gate = nn.Linear(vision, text)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        normed = self.norm(features)
        return self.value(normed) * torch.sigmoid(self.gate(normed))


class PrismModel(LlavaModel):
    config_class = PrismConfig

    def __init__(self, config: PrismConfig) -> None:
        super().__init__(config)
        self.prism = PrismProjector(config)
        self.multi_modal_projector = None
        self.post_init()

    def get_image_features(self, pixel_values: torch.Tensor, **settings: Any) -> Any:
        outputs = self.vision_tower(pixel_values, output_hidden_states=True, return_dict=True)
        outputs.pooler_output = list(self.prism(outputs.hidden_states[self.config.vision_feature_layer][:, 1:]))
        return outputs


class PrismForConditionalGeneration(LlavaForConditionalGeneration):
    config_class = PrismConfig

    def __init__(self, config: PrismConfig) -> None:
        super().__init__(config)
        self.model = PrismModel(config)
        self.post_init()


AutoConfig.register(PrismConfig.model_type, PrismConfig, exist_ok=True)
AutoModelForImageTextToText.register(PrismConfig, PrismForConditionalGeneration, exist_ok=True)
AutoProcessor.register(PrismConfig, LlavaProcessor, exist_ok=True)


def _miniature() -> tuple[nn.Module, Any]:
    words = tokenizer(["<s>", "</s>", "<image>", "<|user|>", "<|assistant|>"], bos="<s>", template=CHAT_TEMPLATE)
    config = PrismConfig(
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
        chat_template=CHAT_TEMPLATE,
    )
    return PrismForConditionalGeneration(config), processor


FAMILY = Family(
    model_types=(PrismConfig.model_type,),
    adapter=ProjectedAdapter,
    parts=PartTable(projector=("model.prism",)),
    prompt=PromptForm(image_text="<image>"),
    encoder=ExpandingEncoder,
    packing=ImageInputs(per_image=("pixel_values",)),
    miniature=_miniature,
)
