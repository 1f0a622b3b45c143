"""The tiny LLaVA: transformers' own class, built from a config, saved as a Hugging Face directory."""

from pathlib import Path

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from fusionscope.sandbox.tokenizer import SPECIAL, build_tokenizer
from fusionscope.sandbox.world import IMAGE_SIZE

PATCH_SIZE = 16
VISION_WIDTH = 64
N_IMAGE_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2 + 1


def build_config() -> LlavaConfig:
    """A LLaVA-1.5 in miniature: one patch per cell of the scene, with the class token."""
    tokenizer = build_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=VISION_WIDTH,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        projection_dim=64,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        initializer_range=0.06,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=SPECIAL.index("<image>"),
        image_seq_length=N_IMAGE_TOKENS,
        vision_feature_select_strategy="full",
        vision_feature_layer=-2,
    )


def build_processor() -> LlavaProcessor:
    """Tokenizer and image processor as one; the PIL variant, which needs no torchvision."""
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    tokenizer = build_tokenizer()
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            do_resize=False,
            do_center_crop=False,
            size=side,
            crop_size=side,
            image_mean=[0.5, 0.5, 0.5],
            image_std=[0.5, 0.5, 0.5],
        ),
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )


def build_model(seed: int) -> LlavaForConditionalGeneration:
    """The untrained model; the caller's random state is not changed.

    Args:
        seed: Seed of the weights.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        model: LlavaForConditionalGeneration = LlavaForConditionalGeneration(build_config()).eval()
    return model


def write(directory: str | Path, seed: int) -> Path:
    """Save an untrained model and its processor so that ``from_pretrained(directory)`` loads both.

    Args:
        directory: Where to write; created where missing.
        seed: Seed of the weights.

    Returns:
        The directory.
    """
    path = Path(directory)
    build_model(seed).save_pretrained(path)
    build_processor().save_pretrained(path)
    return path
