"""Llama 3.2 Vision: the image enters through cross-attention layers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fusionscope.lvlm.adapter import Adapter, Features, register
from fusionscope.lvlm.batch import Batch
from fusionscope.lvlm.offload import execution_device, module_dtype


@register("mllama")
class MllamaAdapter(Adapter):
    """One token marks the image; every token from there on attends to the image's tiles in the cross-attention layers.

    Keys and values of the image lie in the cache of those layers, so a prefix is shared as in other families. Without
    an image the model leaves the layers out.
    """

    packing = "the image enters by cross-attention, whose mask and tiles are laid out for one sample per row"
    image_text = "<|image|>"
    image_enters = "cross-attention"
    may_skip_layers = True

    @property
    def seeing_parts(self) -> Sequence[nn.Module]:
        return [self.model.model.vision_model, self.model.model.multi_modal_projector]

    @property
    def image_token_id(self) -> int:
        return self.token_id(self.image_text)

    def look(self, pixels: Sequence[Features]) -> list[Features]:
        return [self._look_at(one) for one in pixels]

    def _look_at(self, pixels: Features) -> Features:
        tower, projector = self.model.model.vision_model, self.model.model.multi_modal_projector
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
        extra: dict[str, Any] = {"cross_attention_mask": self._sight(batch).to(embeds.device)}
        if batch.images:
            states = torch.stack([image["embeddings"] for image in batch.images])
            extra["cross_attention_states"] = states.to(embeds.device, embeds.dtype)
        return self._decode(embeds, batch, self.model.model, **extra)

    def _sight(self, batch: Batch) -> Tensor:
        """int64 [N, S, 1, tiles]: which tiles each token attends to; after a prefix all tokens see what it saw."""
        seen = torch.ones_like(batch.ids) if batch.cache is not None else (batch.ids == self.image_token_id).cumsum(-1)
        tiles = torch.stack([image["tiles"].cpu() for image in batch.sight or batch.images])
        return (seen > 0).long()[:, :, None, None] * tiles[:, None, None, :]
