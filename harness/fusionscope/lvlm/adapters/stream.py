"""Families that put image embeddings into the token stream and whose model class computes them in one call."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from fusionscope.lvlm.adapters.base import Adapter, Features
from fusionscope.lvlm.offload import execution_device, module_dtype


class StreamAdapter(Adapter):
    """Uses the model's own ``get_image_features``, one image at a time: tiles and resolutions differ by image."""

    kept: ClassVar[tuple[str, ...]] = ()
    """Outputs of the image processor that the token layout needs besides the embeddings."""
    layout_only: ClassVar[tuple[str, ...]] = ()
    """Outputs of the image processor that the model does not read."""

    def encode_images(self, pixels: Sequence[Features]) -> list[Features]:
        return [self.encode_image(image) for image in pixels]

    def encode_image(self, pixels: Features) -> Features:
        """Embeddings of one image, and what its token layout needs."""
        kept = {name: pixels[name] for name in self.kept}
        return {"embeddings": flat(self.image_features(pixels).pooler_output), **kept}

    def image_features(self, pixels: Features) -> Any:
        """The model's own way from pixels to image embeddings."""
        from accelerate.utils import align_module_device

        device = execution_device(self.vision_tower)
        dtype = module_dtype(self.vision_tower)
        inputs = {
            name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for name, value in pixels.items()
            if name not in self.layout_only
        }
        # A lone parameter of the base model (the newline's embedding) is there in its forward pass alone if offloaded.
        with align_module_device(self.model.model):
            return self.model.model.get_image_features(**inputs, return_dict=True)


def flat(embeddings: Any) -> Tensor:
    """Embeddings of one image, in whatever nesting, as [tokens, D]."""
    joined = torch.cat(list(embeddings)) if isinstance(embeddings, list | tuple) else embeddings
    return joined.reshape(-1, joined.shape[-1])
