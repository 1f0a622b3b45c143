"""Llama 3.2 Vision: the image enters through cross-attention layers."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fusionscope.lvlm.adapters import Adapter, Features
from fusionscope.lvlm.batch import Batch
from fusionscope.lvlm.encoders import Encoded, ExpandingEncoder, Images, Rendered
from fusionscope.lvlm.family import Family, PartTable
from fusionscope.lvlm.miniatures import DECODER, IMAGE_SIZE, PATCH, SIDES, draw, tokenizer
from fusionscope.lvlm.offload import execution_device, module_dtype
from fusionscope.lvlm.packing import CannotPack
from fusionscope.lvlm.prompt import PromptForm

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{% for content in message['content'] %}{{ '<|image|>' if content['type'] == 'image' else content['text'] | trim }}"
    "{% endfor %}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
"""meta-llama/Llama-3.2-11B-Vision-Instruct, without tools and system message."""


class _Adapter(Adapter):
    """One token marks the image; every token from there on attends to the image's tiles in the cross-attention layers.

    Keys and values of the image lie in the cache of those layers, so a prefix is shared as in other families. Without
    an image the model leaves the layers out.
    """

    image_enters = "cross-attention"
    may_skip_layers = True

    @property
    def image_token_id(self) -> int:
        return self.token_id(self.family.prompt.token)

    def encode_images(self, pixels: Sequence[Features]) -> list[Features]:
        return [self._encode_image(image) for image in pixels]

    def _encode_image(self, pixels: Features) -> Features:
        tower = self.vision_tower
        projector = self.projector
        device = execution_device(tower)
        states = tower(
            pixel_values=pixels["pixel_values"].to(device, module_dtype(tower)),
            aspect_ratio_ids=pixels["aspect_ratio_ids"].to(device),
            aspect_ratio_mask=pixels["aspect_ratio_mask"].to(device),
        ).last_hidden_state
        embeddings = projector(states.to(execution_device(projector)))
        return {
            "embeddings": embeddings.reshape(-1, embeddings.shape[-1]),
            "tiles": pixels["aspect_ratio_mask"].reshape(-1),
        }

    def expand(self, features: Features) -> list[int]:
        return [self.image_token_id]

    def shape_key(self, features: Features) -> tuple[int, ...]:
        return (features["embeddings"].shape[0], int(features["tiles"].sum()))

    def embed(self, batch: Batch) -> Tensor:
        words: Tensor = self.embedding(batch.ids.to(self.device))
        return words

    def run(self, embeds: Tensor, batch: Batch) -> Any:
        if not batch.images and batch.cache is None:
            return self._decode(embeds, batch)
        extra: dict[str, Any] = {"cross_attention_mask": self._cross_attention_mask(batch).to(embeds.device)}
        if batch.images:
            states = torch.stack([image["embeddings"] for image in batch.images])
            extra["cross_attention_states"] = states.to(embeds.device, embeds.dtype)
        return self._decode(embeds, batch, self.model.model, **extra)

    def _cross_attention_mask(self, batch: Batch) -> Tensor:
        """int64 [N, S, 1, tiles]: which tiles each token attends to; after a prefix all tokens see what it saw."""
        images = torch.ones_like(batch.ids)
        if batch.cache is None:
            images = (batch.ids == self.image_token_id).cumsum(-1)
        tiles = torch.stack([image["tiles"].cpu() for image in batch.prefix_images or batch.images])
        return (images > 0).long()[:, :, None, None] * tiles[:, None, None, :]


class _Encoder(ExpandingEncoder):
    """Writes each start token where the processor would, which moves the characters after it."""

    def __call__(self, rendered: Sequence[Rendered], images: Images) -> Encoded:
        _warn_of_leaks([len(some) for some in images])
        return super().__call__([self._started(sample) for sample in rendered], images)

    def starts_are_written(self, texts: Sequence[str]) -> bool:
        return True

    def _started(self, sample: Rendered) -> Rendered:
        """With the start token after the marks that the text begins with."""
        start = self.processor.tokenizer.bos_token
        mark = self.form.image_text
        if start in sample.text:
            return sample
        place = 0
        while sample.text.startswith(mark, place):
            place += len(mark)

        def moved(at: int) -> int:
            return at + len(start) * (at >= place)

        return replace(
            sample,
            text=sample.text[:place] + start + sample.text[place:],
            spans=tuple((moved(begin), moved(end)) for begin, end in sample.spans),
        )


def _warn_of_leaks(images: Sequence[int]) -> None:
    """Say where a sample's loss depends on its company, which no input of the model can prevent.

    Reference: transformers issue 39379 (the mask of rows that see no image is applied after the cross-attention).
    """
    if len(set(images)) > 1:
        warnings.warn(
            f"samples with {sorted(set(images))} images in one batch: in transformers' Mllama a token before the first "
            "image of its sample attends to all images of its row, empty ones included: text-only samples are "
            "not read as they are alone. On one process, data.group_by_length=true keeps most in batches of their own",
            stacklevel=4,
        )


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import MllamaConfig, MllamaForConditionalGeneration, MllamaProcessor
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    specials = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|image|>"]
    words = tokenizer(specials, bos="<|begin_of_text|>", template=CHAT_TEMPLATE)
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "attention_heads": 4,
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH,
        "max_num_tiles": 4,
        "vision_output_dim": 64,
        "intermediate_layers_indices": [1],
        "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
    }
    text = {
        **DECODER,
        "vocab_size": len(words) - 1,  # the image's own token lies beyond the head's vocabulary, as in the real model
        "num_hidden_layers": 4,
        "cross_attention_layers": [1, 3],
        "bos_token_id": 0,
        "eos_token_id": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    config = MllamaConfig(
        vision_config=vision, text_config=text, image_token_index=words.convert_tokens_to_ids("<|image|>")
    )
    model = MllamaForConditionalGeneration(config)
    draw(value for name, value in model.named_parameters() if "gate" in name and "mlp.gate_proj" not in name)
    images = MllamaImageProcessorPil(size=SIDES, max_image_tiles=4)
    return model, MllamaProcessor(image_processor=images, tokenizer=words, chat_template=CHAT_TEMPLATE)


FAMILY = Family(
    model_types=("mllama",),
    adapter=_Adapter,
    parts=PartTable(vision_tower=("model.vision_model",)),
    prompt=PromptForm(image_text="<|image|>"),
    encoder=_Encoder,
    packing=CannotPack(
        reason="the image enters by cross-attention, whose mask and tiles are laid out for one sample per row"
    ),
    miniature=_miniature,
)
