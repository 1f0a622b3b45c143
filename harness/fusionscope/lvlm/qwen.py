"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: any resolution, positions in time, height and width."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fusionscope.lvlm.adapter import Features, register
from fusionscope.lvlm.batch import Batch
from fusionscope.lvlm.packing import ImageInputs
from fusionscope.lvlm.stream import StreamAdapter, flat


@register("qwen2_vl", "qwen2_5_vl")
class QwenAdapter(StreamAdapter):
    """Positions are given explicitly, so the ``rope_deltas`` that the model remembers are neither read nor changed."""

    image_text = "<|image_pad|>"
    tower, connector = "visual", ""
    kept = ("image_grid_thw",)
    packing = ImageInputs(per_token=("pixel_values",), per_image=("image_grid_thw",))

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model, processor)
        self._placed: tuple[tuple[Any, ...], Tensor] = ((), torch.empty(0))

    def positions(self, ids: Sequence[int], image: Features | None) -> Tensor:
        token = self.image_token_id
        if image is None or token not in ids:
            return torch.arange(len(ids)).expand(3, -1)
        start = ids.index(token)
        end = start + ids.count(token)
        key = (start, end, self.shape_key(image))
        if key != self._placed[0]:
            # All questions about an image have this in common; for a thousand of them transformers takes seconds.
            self._placed = key, self._places(ids[:end], image)
        seen = self._placed[1]
        return torch.cat([seen, (torch.arange(len(ids) - end) + seen.max() + 1).expand(3, -1)], dim=1)

    def _places(self, ids: Sequence[int], image: Features) -> Tensor:
        tokens = torch.tensor([ids])
        found: Tensor = self.model.model.get_rope_index(
            input_ids=tokens,
            mm_token_type_ids=(tokens == self.image_token_id).int(),
            image_grid_thw=image["image_grid_thw"].cpu(),
        )[0]
        return found[:, 0]

    def packed_positions(self, inputs: dict[str, Tensor]) -> Tensor:
        """[4, N, S]: the places in the text, which keep samples apart, and those in time, height and width."""
        places_NS = inputs["position_ids"]
        found = places_NS.expand(4, -1, -1).clone()
        if "image_grid_thw" not in inputs:
            return found
        starts = (places_NS.flatten() == 0).nonzero().flatten()
        samples = list(inputs["input_ids"].flatten().tensor_split(starts[1:].cpu()))
        ids = pad_sequence(samples, batch_first=True)
        real = pad_sequence([torch.ones_like(one) for one in samples], batch_first=True)
        seen: Tensor = self.model.model.get_rope_index(
            input_ids=ids,
            mm_token_type_ids=(ids == self.image_token_id).int(),
            image_grid_thw=inputs["image_grid_thw"],
            attention_mask=real,
        )[0]
        found[1:] = seen[:, real.bool()].view(3, *places_NS.shape)
        return found

    def shape_key(self, features: Features) -> tuple[int, ...]:
        return tuple(features["image_grid_thw"].flatten().tolist())


@register("qwen3_vl")
class Qwen3VLAdapter(QwenAdapter):
    """Qwen3-VL: features of several vision layers are added to the first decoder layers at the image's tokens."""

    image_states = ("embeddings", "deepstack")

    def _look_at(self, pixels: Features) -> Features:
        seen = self.encode(pixels)
        return {
            "embeddings": flat(seen.pooler_output),
            "deepstack": torch.stack([flat(level) for level in seen.deepstack_features]),
            "image_grid_thw": pixels["image_grid_thw"],
        }

    def run(self, embeds: Tensor, batch: Batch) -> Any:
        extra: dict[str, Any] = {}
        if batch.images:
            levels = torch.cat([image["deepstack"] for image in batch.images], dim=1)
            extra = {
                "visual_pos_masks": batch.ids.to(embeds.device) == self.image_token_id,
                "deepstack_visual_embeds": list(levels),
            }
        return self._decode(embeds, batch, **extra)
