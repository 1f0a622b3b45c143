"""What the miniatures of LLaVA-1.5 and ViP-LLaVA share; LLaVA-NeXT has the same parts."""

from typing import Any

from fusionscope.lvlm.miniatures.pieces import DECODER, IMAGE_SIZE, PATCH, SIDES, VISION


def llava_config(words: Any) -> dict[str, Any]:
    """Settings of the model's configuration: a CLIP tower and a Llama decoder.

    Args:
        words: The tokenizer.
    """
    from transformers import CLIPVisionConfig, LlamaConfig

    return {
        "vision_config": CLIPVisionConfig(projection_dim=32, **VISION),
        "text_config": LlamaConfig(vocab_size=len(words), **DECODER),
        "image_token_index": words.convert_tokens_to_ids("<image>"),
    }


def llava_processor(words: Any, template: str) -> Any:
    """The processor, for images of one crop.

    Args:
        words: The tokenizer.
        template: The chat template.
    """
    from transformers import LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=SIDES),
        tokenizer=words,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
