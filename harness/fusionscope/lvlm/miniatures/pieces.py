"""What the miniatures of several families are made of."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from fusionscope.lvlm.processor import ComposedProcessor

IMAGE_SIZE = 32
PATCH = 8
SIDES = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
DECODER: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
"""Settings of a language model; add ``vocab_size``."""
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": IMAGE_SIZE,
    "patch_size": PATCH,
}
"""Settings of a vision tower."""


def composed(words: Any, images: Any, **more: Any) -> ComposedProcessor:
    """A processor as the adapters need it: tokenizer, image processor, the tokenizer's template."""
    return ComposedProcessor(tokenizer=words, image_processor=images, chat_template=words.chat_template, **more)


def draw(values: Iterable[torch.Tensor], std: float = 0.5) -> None:
    """Draw weights that are zero at initialisation and would hide the image."""
    with torch.no_grad():
        for value in values:
            value.normal_(0, std)


def mrope(sections: Sequence[int]) -> dict[str, Any]:
    """Rotary embeddings in time, height and width.

    Args:
        sections: Frequencies of each of the three.
    """
    return {"rope_type": "default", "type": "default", "mrope_section": list(sections), "rope_theta": 10000.0}
