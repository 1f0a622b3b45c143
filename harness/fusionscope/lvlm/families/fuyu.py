"""Fuyu: no vision tower, patches go straight into the decoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fusionscope.lvlm.adapters import Adapter, Features
from fusionscope.lvlm.encoders import ImageFirstEncoder, Images
from fusionscope.lvlm.family import Family, PartTable
from fusionscope.lvlm.miniatures import DECODER, IMAGE_SIZE, PATCH, composed, tokenizer
from fusionscope.lvlm.offload import execution_device, module_dtype
from fusionscope.lvlm.packing import CannotPack
from fusionscope.lvlm.prompt import PromptForm

PROMPT = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{% for content in message['content'] %}"
    "{{ '|SPEAKER|' if content['type'] == 'image' else content['text'] + '\n' }}"
    "{% endfor %}{{ '<0x04>' }}"
    "{% else %}"
    "{{ ' ' }}{% generation %}{{ message['content'][0]['text'] }}{{ eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}"
)
"""What the family was trained on: an image, a question, a line end, the sign that an answer begins, an answer."""
NEWLINE = "|NEWLINE|"
START = "<s>"


class _Adapter(Adapter):
    """One token per patch, a newline token after every row of patches, then the start token and the text."""

    @property
    def final_norm(self) -> nn.Module:
        norm: nn.Module = self.text_model.final_layernorm
        return norm

    def process(self, images: Sequence[Any]) -> list[Features]:
        return [patchify(self.processor.image_processor, self._processed([image])) for image in images]

    def encode_images(self, pixels: Sequence[Features]) -> list[Features]:
        projector = self.projector
        device = execution_device(projector)
        dtype = module_dtype(projector)
        return [
            {"embeddings": projector(image["pixel_values"].to(device, dtype)), "columns": image["columns"]}
            for image in pixels
        ]

    def expand(self, features: Features) -> list[int]:
        columns = int(features["columns"])
        row = [self.image_token_id] * columns + [self.token_id(NEWLINE)]
        return row * (features["embeddings"].shape[0] // columns) + [self.token_id(START)]

    def shape_key(self, features: Features) -> tuple[int, ...]:
        return (features["embeddings"].shape[0], int(features["columns"]))


class _Encoder(ImageFirstEncoder):
    """One token per patch, a newline token after every row of patches."""

    start = START

    def heads(self, images: Images) -> tuple[list[list[int]], dict[str, Tensor]]:
        """Rows of patches of one image after the other."""
        newline = self.token_id(NEWLINE)
        process = self.processor.image_processor
        heads: list[list[int]] = []
        patches: list[Tensor] = []
        for some in images:
            head: list[int] = []
            for image in some:
                features = patchify(process, process(images=[image], return_tensors="pt"))
                columns = int(features["columns"])
                head += ([self.image_id] * columns + [newline]) * (len(features["pixel_values"]) // columns)
                patches.append(features["pixel_values"])
            heads.append([*head, self.start_id])
        return heads, {"pixel_values": torch.cat(patches)} if patches else {}


def patchify(image_processor: Any, outputs: Any) -> Features:
    """An image's patches, row by row, without those that are padding alone.

    Shapes: C channels, H height, W width.

    Args:
        image_processor: Fuyu's.
        outputs: What it made of the image.

    Returns:
        ``pixel_values`` [patches, values] and ``columns`` [1], patches in a row.
    """
    given = image_processor.patch_size
    size = given if isinstance(given, dict) else vars(given)
    pixels_CHW = torch.as_tensor(np.asarray(outputs["images"][0])).squeeze(0)
    rows, columns = (
        min(side // size[name], -(-int(outputs[f"image_unpadded_{name}s"][0][0]) // size[name]))
        for side, name in zip(pixels_CHW.shape[-2:], ("height", "width"), strict=True)
    )
    high = size["height"]
    wide = size["width"]
    kept = pixels_CHW[:, : rows * high, : columns * wide].reshape(-1, rows, high, columns, wide)
    patches = kept.permute(1, 3, 2, 4, 0).reshape(rows * columns, -1)
    return {"pixel_values": patches, "columns": torch.tensor([columns])}


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import FuyuConfig, FuyuForCausalLM, PersimmonConfig
    from transformers.models.fuyu.image_processing_pil_fuyu import FuyuImageProcessorPil

    words = tokenizer(["<s>", "|SPEAKER|", "|NEWLINE|", "<0x04>"])
    text = PersimmonConfig(vocab_size=len(words), **{**DECODER, "num_key_value_heads": 4}).to_dict()
    sizes: dict[str, Any] = {"vocab_size": len(words), "hidden_size": 48}  # read though the class does not declare them
    config = FuyuConfig(
        text_config=text,
        patch_size=PATCH,
        image_size=IMAGE_SIZE,
        num_channels=3,
        image_token_id=words.convert_tokens_to_ids("|SPEAKER|"),
        **sizes,
    )
    sides: Any = {"height": PATCH, "width": PATCH}
    images = FuyuImageProcessorPil(size={"height": IMAGE_SIZE, "width": 48}, patch_size=sides)
    return FuyuForCausalLM(config), composed(words, images)


FAMILY = Family(
    model_types=("fuyu",),
    adapter=_Adapter,
    parts=PartTable(vision_tower=(), projector=("model.vision_embed_tokens",)),
    prompt=PromptForm(image_text="|SPEAKER|", image_first=True, template=PROMPT),
    encoder=_Encoder,
    packing=CannotPack(reason="patches find their places by indices that hold for one sample per row"),
    miniature=_miniature,
)
