"""What the miniatures of Idefics3 and SmolVLM share."""

from typing import Any

from fusionscope.lvlm.chat_templates import IDEFICS
from fusionscope.lvlm.miniatures.pieces import DECODER, IMAGE_SIZE, VISION
from fusionscope.lvlm.miniatures.tokenizer import tokenizer

IDEFICS_IMAGES: dict[str, Any] = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": IMAGE_SIZE}}
"""Settings of the image processors: up to two by two tiles."""


def idefics_tokenizer() -> Any:
    """A tokenizer with the special tokens, those that announce tiles, and the chat template."""
    specials = ["<|im_start|>", "<end_of_utterance>", "<image>", "<fake_token_around_image>", "<global-img>"]
    tiles = [f"<row_{r}_col_{c}>" for r in range(1, 3) for c in range(1, 3)]
    return tokenizer([*specials, *tiles], bos="<|im_start|>", template=IDEFICS)


def idefics_config(words: Any, vision: Any) -> dict[str, Any]:
    """Settings of the model's configuration.

    Args:
        words: The tokenizer.
        vision: Class of the vision tower's configuration.
    """
    from transformers import LlamaConfig

    return {
        "vision_config": vision(**VISION).to_dict(),
        "text_config": LlamaConfig(vocab_size=len(words), **DECODER).to_dict(),
        "image_token_id": words.convert_tokens_to_ids("<image>"),
        "scale_factor": 2,
        "pad_token_id": 0,  # read though the class does not declare it
    }
