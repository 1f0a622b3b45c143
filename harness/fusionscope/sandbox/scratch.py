"""A tiny LLaVA from nothing, for data that no pretrained model of this size exists for."""

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from fusionscope.lvlm import LVLM
from fusionscope.sandbox.tokenizer import CHAT_TEMPLATE, SPECIAL, word_tokenizer
from fusionscope.stages import AlignmentPretraining, PartConfig

_TEMPLATE_WORDS = ("user", "assistant", ":", "scene", ".")


class ScratchAlignment(AlignmentPretraining):
    """Alignment of a tiny LLaVA with random weights: with nothing to align yet, all three parts learn from captions.

    Args:
        vocabulary: Every word of the data (punctuation marks are words of their own); others become ``<unk>``.
        image_size: Side of the square that images are scaled to, in pixels.
        patch_size: Side of a patch; one image token each, and one for the whole.
        vision_width: Width of the vision tower (4 layers).
        language_width: Width of the language model (4 layers).
        vision_tower: How the vision tower is trained.
        projector: How the projector is trained.
        language_model: How the language model is trained.
        seed: Seed of the initial weights; None takes the global seed (``seed_everything``).
        **settings: The other settings of `VLMStage`.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        image_size: int = 32,
        patch_size: int = 8,
        vision_width: int = 64,
        language_width: int = 96,
        vision_tower: PartConfig = PartConfig(tune="full", lr=1e-3),  # noqa: B008  (frozen)
        projector: PartConfig = PartConfig(tune="full", lr=1e-3),  # noqa: B008
        language_model: PartConfig = PartConfig(tune="full", lr=1e-3),  # noqa: B008
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        self.seed = torch.initial_seed() if seed is None else seed
        name = f"scratch {image_size}/{patch_size} {vision_width}/{language_width} seed {self.seed}"
        super().__init__(name, vision_tower, projector, language_model, **settings)
        self.sizes = (image_size, patch_size, vision_width, language_width)
        self.vocabulary = tuple(vocabulary)

    def configure_model(self) -> None:
        """Build the model; does nothing when that is done."""
        if not hasattr(self, "network"):
            self._base_hash = self.base
            self.attach(build(self.vocabulary, *self.sizes, seed=self.seed))


def build(
    vocabulary: Sequence[str], image_size: int, patch_size: int, vision_width: int, language_width: int, *, seed: int
) -> LVLM:
    """The untrained model; the caller's random state is not changed.

    Args:
        vocabulary: Words of the tokenizer, besides those of the chat template.
        image_size: Side of the images in pixels.
        patch_size: Side of a patch in pixels.
        vision_width: Width of the vision tower.
        language_width: Width of the language model.
        seed: Seed of the weights.
    """
    tokenizer = _tokenizer(vocabulary)
    vision = CLIPVisionConfig(
        hidden_size=vision_width,
        intermediate_size=2 * vision_width,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=image_size,
        patch_size=patch_size,
        projection_dim=vision_width,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=language_width,
        intermediate_size=2 * language_width,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        initializer_range=0.06,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.vocab["<image>"],
        image_seq_length=(image_size // patch_size) ** 2 + 1,
        vision_feature_select_strategy="full",
    )
    side = {"height": image_size, "width": image_size}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=side, crop_size=side, do_center_crop=False),
        tokenizer=tokenizer,
        patch_size=patch_size,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        return LVLM.wrap(LlavaForConditionalGeneration(config).eval(), processor)


def _tokenizer(vocabulary: Sequence[str]) -> PreTrainedTokenizerFast:
    words = list(dict.fromkeys((*SPECIAL, *_TEMPLATE_WORDS, *vocabulary)))
    return word_tokenizer(words, pre_tokenizers.Whitespace())
