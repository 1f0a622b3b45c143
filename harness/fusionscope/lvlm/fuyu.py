"""Fuyu: no vision tower, patches go straight into the decoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from fusionscope.lvlm.adapter import Adapter, Features, register
from fusionscope.lvlm.offload import execution_device, module_dtype


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
        return [patchify(self.processor.image_processor, image, self._processed([image])) for image in images]

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


def patchify(maker: Any, image: Any, made: Any = None) -> Features:
    """An image's patches, row by row, without those that are padding alone.

    Shapes: C channels, H height, W width.

    Args:
        maker: Fuyu's image processor.
        image: The image.
        made: What the image processor made of it, if that is known.

    Returns:
        ``pixel_values`` [patches, values] and ``columns`` [1], patches in a row.
    """
    made = maker(images=[image], return_tensors="pt") if made is None else made
    size = maker.patch_size if isinstance(maker.patch_size, dict) else vars(maker.patch_size)
    names, pixels_CHW = ("height", "width"), torch.as_tensor(np.asarray(made["images"][0])).squeeze(0)
    rows, columns = (
        min(side // size[name], -(-int(made[f"image_unpadded_{name}s"][0][0]) // size[name]))
        for side, name in zip(pixels_CHW.shape[-2:], names, strict=True)
    )
    high, wide = (size[name] for name in names)
    kept = pixels_CHW[:, : rows * high, : columns * wide].reshape(-1, rows, high, columns, wide)
    patches = kept.permute(1, 3, 2, 4, 0).reshape(rows * columns, -1)
    return {"pixel_values": patches, "columns": torch.tensor([columns])}
