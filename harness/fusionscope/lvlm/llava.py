"""LLaVA-1.5: one embedding per patch through a two-layer projector."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusionscope.errors import InputError
from fusionscope.lvlm.adapter import Adapter, Features, register
from fusionscope.lvlm.capture import Capture
from fusionscope.lvlm.offload import execution_device, module_dtype
from fusionscope.lvlm.packing import ImageInputs


@register("llava")
class LlavaAdapter(Adapter):
    """LLaVA-1.5 and what shares its class: CLIP or SigLIP tower, projector, decoder."""

    packing = ImageInputs(per_image=("pixel_values",))

    @property
    def seeing_parts(self) -> Sequence[nn.Module]:
        return [self.model.model.vision_tower]

    def process(self, images: Sequence[object]) -> list[Features]:
        pixels = self._processed(images)["pixel_values"]
        return [{"pixel_values": one[None]} for one in pixels]

    def look(self, pixels: Sequence[Features]) -> list[Features]:
        tower, config = self.model.model.vision_tower, self.model.config
        if config.vision_config.model_type == "pixtral":
            raise InputError(
                "a LLaVA with a Pixtral tower",
                "its image size varies with the image, which this adapter does not do",
                "use a model with a CLIP or SigLIP tower",
            )
        values = torch.cat([one["pixel_values"] for one in pixels])
        values = values.to(execution_device(tower), module_dtype(tower))
        # By hooks that come off again: output_hidden_states leaves some on, and finds nothing in a sharded tower.
        layers = getattr(tower, "vision_model", tower).encoder.layers
        chosen = config.vision_feature_layer
        numbers = [range(len(layers) + 1)[i] for i in ([chosen] if isinstance(chosen, int) else chosen)]
        with Capture(layers, numbers, None) as capture:
            tower(values)
        picked = [capture.hidden[number] for number in numbers]
        if config.vision_feature_select_strategy == "default":
            picked = [state[:, 1:] for state in picked]
        return [{"features": one} for one in torch.cat(picked, dim=-1)]

    def project(self, features: Sequence[Features]) -> list[Features]:
        projector = self.model.model.multi_modal_projector
        stacked = torch.stack([one["features"] for one in features])
        embeddings: Tensor = projector(stacked.to(execution_device(projector), module_dtype(projector)))
        return [{"embeddings": one} for one in embeddings]
