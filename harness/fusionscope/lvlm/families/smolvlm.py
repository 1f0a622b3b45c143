"""SmolVLM: tiles in rows and columns as in Idefics3, each announced by a token, and the whole image last."""

from typing import Any

from torch import nn

from fusionscope.lvlm.adapters import TiledAdapter
from fusionscope.lvlm.chat_templates import IDEFICS
from fusionscope.lvlm.encoders import ExpandingEncoder
from fusionscope.lvlm.family import Family, PartTable
from fusionscope.lvlm.miniatures import DECODER, IMAGE_SIZE, VISION, composed, tokenizer
from fusionscope.lvlm.packing import ImageInputs
from fusionscope.lvlm.prompt import PromptForm


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import LlamaConfig, SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMVisionConfig
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    specials = ["<|im_start|>", "<end_of_utterance>", "<image>", "<fake_token_around_image>", "<global-img>"]
    tiles = [f"<row_{r}_col_{c}>" for r in range(1, 3) for c in range(1, 3)]
    words = tokenizer([*specials, *tiles], bos="<|im_start|>", template=IDEFICS)
    padding: dict[str, Any] = {"pad_token_id": 0}  # read though the class does not declare it
    config = SmolVLMConfig(
        vision_config=SmolVLMVisionConfig(**VISION).to_dict(),
        text_config=LlamaConfig(vocab_size=len(words), **DECODER).to_dict(),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        **padding,
    )
    images = SmolVLMImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": IMAGE_SIZE})
    return SmolVLMForConditionalGeneration(config), composed(words, images)


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
