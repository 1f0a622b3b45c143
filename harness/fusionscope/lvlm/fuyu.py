"""Fuyu: no vision tower, patches go straight into the decoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from fusionscope.lvlm.adapter import Adapter, Features, execution_device, module_dtype, register


@register("fuyu")
class FuyuAdapter(Adapter):
    """One token per patch, a newline token after every row of patches, then the start token and the text."""

    packing = "patches find their places by indices that hold for one sample per row"
    image_text = "|SPEAKER|"
    image_apart = True
    default_template = (
        "{% for message in messages %}{% if message['role'] == 'user' %}{% for content in message['content'] %}"
        "{{ '|SPEAKER|' if content['type'] == 'image' else content['text'] + '\n' }}{% endfor %}"
        "{{ '<0x04>' }}{% else %}{{ ' ' + message['content'][0]['text'] }}{% endif %}{% endfor %}"
    )

    @property
    def final_norm(self) -> nn.Module:
        norm: nn.Module = self.text_model.final_layernorm
        return norm

    @property
    def seeing_parts(self) -> Sequence[nn.Module]:
        return [self.model.model.vision_embed_tokens]

    def process(self, images: Sequence[Any]) -> list[Features]:
        return [self._patches(image) for image in images]

    def _patches(self, image: Any) -> Features:
        made, maker = self._processed([image]), self.processor.image_processor
        size = maker.patch_size if isinstance(maker.patch_size, dict) else vars(maker.patch_size)
        pixels = np.asarray(made["images"][0])
        pixels = pixels.reshape(-1, *pixels.shape[-3:])
        sides = [
            min(side, -(-int(made[f"image_unpadded_{name}s"][0][0]) // size[name]) * size[name])
            for side, name in zip(pixels.shape[-2:], ("height", "width"), strict=True)
        ]
        patches = maker.patchify_image(image=pixels[..., : sides[0], : sides[1]])
        return {
            "pixel_values": torch.as_tensor(patches).reshape(-1, patches.shape[-1]),
            "columns": torch.tensor([sides[1] // size["width"]]),
        }

    def look(self, pixels: Sequence[Features]) -> list[Features]:
        eye = self.model.model.vision_embed_tokens
        return [
            {
                "embeddings": eye(one["pixel_values"].to(execution_device(eye), module_dtype(eye))),
                "columns": one["columns"],
            }
            for one in pixels
        ]

    def expand(self, features: Features) -> list[int]:
        columns = int(features["columns"])
        row = [self.image_token_id] * columns + [self.token_id("|NEWLINE|")]
        return row * (features["embeddings"].shape[0] // columns) + [self.token_id("<s>")]

    def shape_key(self, features: Features) -> tuple[int, ...]:
        return (features["embeddings"].shape[0], int(features["columns"]))
