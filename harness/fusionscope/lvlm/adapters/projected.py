"""Families with images of one size: a vision tower, whose features may be cached, and a projector, which may train."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.lvlm.adapters.base import Adapter, Features
from fusionscope.lvlm.capture import Capture
from fusionscope.lvlm.offload import execution_device, module_dtype


class ProjectedAdapter(Adapter):
    """LLaVA-1.5 and its like: CLIP or SigLIP tower, projector, decoder; one embedding per patch.

    The layers of the tower that are read, and whether its first token is, stand in the model's configuration
    (``vision_feature_layer``, ``vision_feature_select_strategy``).
    """

    encoding_parts = ("vision_tower",)

    def process(self, images: Sequence[object]) -> list[Features]:
        pixels = self._processed(images)["pixel_values"]
        return [{"pixel_values": image[None]} for image in pixels]

    @property
    def drops_first_token(self) -> bool:
        """Whether the tower's first token (CLIP's class token) is left out."""
        return bool(self.model.config.vision_feature_select_strategy == "default")

    def encode_images(self, pixels: Sequence[Features]) -> list[Features]:
        tower: Any = self.vision_tower
        config = self.model.config
        if config.vision_config.model_type == "pixtral":
            raise InputError(
                "a LLaVA with a Pixtral tower",
                "its image size varies with the image, which this adapter does not do",
                "use a model with a CLIP or SigLIP tower",
            )
        values = torch.cat([image["pixel_values"] for image in pixels])
        values = values.to(execution_device(tower), module_dtype(tower))
        # By hooks that come off again: output_hidden_states leaves some on, and finds nothing in a sharded tower.
        layers = getattr(tower, "vision_model", tower).encoder.layers
        chosen = config.vision_feature_layer
        numbers = [range(len(layers) + 1)[i] for i in ([chosen] if isinstance(chosen, int) else chosen)]
        with Capture(layers, numbers, None) as capture:
            tower(values)
        states = [capture.hidden[number] for number in numbers]
        if self.drops_first_token:
            states = [state[:, 1:] for state in states]
        return [{"features": image} for image in torch.cat(states, dim=-1)]

    def project(self, features: Sequence[Features]) -> list[Features]:
        projector = self.projector
        stacked = torch.stack([image["features"] for image in features])
        embeddings: Tensor = projector(stacked.to(execution_device(projector), module_dtype(projector)))
        return [{"embeddings": image} for image in embeddings]
