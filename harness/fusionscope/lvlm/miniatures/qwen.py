"""What the miniatures of the Qwen-VL families share."""

from typing import Any

from fusionscope.lvlm.chat_templates import QWEN
from fusionscope.lvlm.miniatures.pieces import PATCH
from fusionscope.lvlm.miniatures.tokenizer import tokenizer


def qwen_tokenizer() -> Any:
    """A tokenizer with the special tokens and the chat template of Qwen-VL."""
    specials = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    return tokenizer(specials, template=QWEN)


def qwen_token_ids(words: Any) -> dict[str, Any]:
    """The ids that the model's configuration states."""
    texts = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {name: words.convert_tokens_to_ids(text) for name, text in texts.items()}


def qwen_images() -> Any:
    """The image processor, with images of 4 to 36 patches."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(
        patch_size=PATCH, merge_size=2, size={"shortest_edge": 16 * 16, "longest_edge": 48 * 48}
    )
