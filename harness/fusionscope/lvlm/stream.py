"""Families that put image embeddings into the token stream and whose model class computes them in one call."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fusionscope.lvlm.adapter import Adapter, Features, register
from fusionscope.lvlm.offload import execution_device, module_dtype
from fusionscope.lvlm.packing import ImageInputs


class StreamAdapter(Adapter):
    """Uses the model's own ``get_image_features``, one image at a time: tiles and resolutions differ by image."""

    tower: ClassVar[str] = "vision_tower"
    """Name of the vision tower in the base model."""
    connector: ClassVar[str] = "multi_modal_projector"
    """Name of what leads from the tower to the language model, if it is a module of its own."""
    kept: ClassVar[tuple[str, ...]] = ()
    """Outputs of the image processor that the token layout needs besides the embeddings."""

    @property
    def seeing_parts(self) -> Sequence[nn.Module]:
        parts = (getattr(self.model.model, name, None) for name in (self.tower, self.connector))
        return [part for part in parts if part is not None]

    def look(self, pixels: Sequence[Features]) -> list[Features]:
        return [self._look_at(one) for one in pixels]

    def _look_at(self, pixels: Features) -> Features:
        return {"embeddings": flat(self.encode(pixels).pooler_output), **{name: pixels[name] for name in self.kept}}

    def encode(self, pixels: Features) -> Any:
        """The model's own way from pixels to image embeddings."""
        from accelerate.utils import align_module_device

        tower = getattr(self.model.model, self.tower)
        device, dtype = execution_device(tower), module_dtype(tower)
        inputs = {
            name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for name, value in pixels.items()
            if name not in self.layout_only
        }
        # A lone parameter of the base model (the newline's embedding) is there in its forward pass alone if offloaded.
        with align_module_device(self.model.model):
            return self.model.model.get_image_features(**inputs, return_dict=True)

    layout_only: ClassVar[tuple[str, ...]] = ()
    """Outputs of the image processor that the model does not read."""


def flat(embeddings: Any) -> Tensor:
    """Embeddings of one image, in whatever nesting, as [tokens, D]."""
    joined = torch.cat(list(embeddings)) if isinstance(embeddings, list | tuple) else embeddings
    return joined.reshape(-1, joined.shape[-1])


@register("llava_next")
class LlavaNextAdapter(StreamAdapter):
    """LLaVA-NeXT (1.6): tiles by resolution, unpadded, a newline embedding after every row."""

    packing = ImageInputs(per_image=("pixel_values", "image_sizes"))

    @property
    def seeing_parts(self) -> Sequence[nn.Module]:
        return [*super().seeing_parts, _Leaf(self.model.model.image_newline)]


@register("llava_onevision")
class LlavaOnevisionAdapter(LlavaNextAdapter):
    """LLaVA-OneVision: as LLaVA-NeXT, with pooling above nine tiles."""

    packing = ImageInputs(per_image=("pixel_values", "image_sizes"), per_sample=("batch_num_images",))


class _Leaf(nn.Module):
    """A lone parameter as a module, for the weights' fingerprint."""

    def __init__(self, value: nn.Parameter) -> None:
        super().__init__()
        self.value = value


@register("internvl")
class InternVLAdapter(StreamAdapter):
    """InternVL 2.5 and 3 (the -hf checkpoints): tiles through a pixel shuffle.

    Its processor asks for tiles though the image processor's own default is one: set
    ``processor.images_kwargs = {"crop_to_patches": False}`` for one.
    """

    image_text = "<IMG_CONTEXT>"
    image_frame = "<img><IMG_CONTEXT></img>"
    image_settings: ClassVar = {"crop_to_patches": True}
    layout_only = ("num_patches",)
    packing = ImageInputs(per_token=("pixel_values",))


@register("idefics3", "smolvlm")
class Idefics3Adapter(StreamAdapter):
    """Idefics3 and SmolVLM: tiles in rows and columns, each announced by a token, and the whole image last."""

    tower, connector = "vision_model", "connector"
    kept = layout_only = ("rows", "cols")
    packing = ImageInputs(per_sample=("pixel_values", "pixel_attention_mask"))

    @property
    def text_model(self) -> Any:
        return self.model.model.text_model

    def process(self, images: Sequence[Any]) -> list[Features]:
        found = []
        for image in images:
            made = self._processed([[image]], return_row_col_info=True)
            grid = {name: torch.tensor([made[name][0][0]]) for name in ("rows", "cols")}
            found.append({name: made[name] for name in ("pixel_values", "pixel_attention_mask")} | grid)
        return found

    def expand(self, features: Features) -> list[int]:
        rows, cols = int(features["rows"]), int(features["cols"])
        tiles = rows * cols + 1
        each = self.image_text * (features["embeddings"].shape[0] // tiles)
        fake = "<fake_token_around_image>"
        text = "".join(
            "".join(f"{fake}<row_{r + 1}_col_{c + 1}>{each}" for c in range(cols)) + "\n" for r in range(rows)
        )
        text += "\n" * (tiles > 1) + f"{fake}<global-img>{each}{fake}"
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def shape_key(self, features: Features) -> tuple[int, ...]:
        return (features["embeddings"].shape[0], int(features["rows"]), int(features["cols"]))
