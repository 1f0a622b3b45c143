"""Families of any resolution whose positions are in time, height and width (multimodal rotary embeddings, M-RoPE)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fusionscope.lvlm.adapters.base import Features
from fusionscope.lvlm.adapters.stream import StreamAdapter

if TYPE_CHECKING:
    from fusionscope.lvlm.family import Family


class MropeAdapter(StreamAdapter):
    """Positions are given explicitly, so the ``rope_deltas`` that the model remembers are neither read nor changed."""

    kept = ("image_grid_thw",)

    def __init__(self, model: Any, processor: Any, family: "Family") -> None:
        super().__init__(model, processor, family)
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
        prefix = self._placed[1]
        return torch.cat([prefix, (torch.arange(len(ids) - end) + prefix.max() + 1).expand(3, -1)], dim=1)

    def _places(self, ids: Sequence[int], image: Features) -> Tensor:
        tokens = torch.tensor([ids])
        places: Tensor = self.model.model.get_rope_index(
            input_ids=tokens,
            mm_token_type_ids=(tokens == self.image_token_id).int(),
            image_grid_thw=image["image_grid_thw"].cpu(),
        )[0]
        return places[:, 0]

    def packed_positions(self, inputs: dict[str, Tensor]) -> Tensor:
        """[4, N, S]: the places in the text, which keep samples apart, and those in time, height and width."""
        places_NS = inputs["position_ids"]
        places = places_NS.expand(4, -1, -1).clone()
        if "image_grid_thw" not in inputs:
            return places
        starts = (places_NS.flatten() == 0).nonzero().flatten()
        samples = list(inputs["input_ids"].flatten().tensor_split(starts[1:].cpu()))
        ids = pad_sequence(samples, batch_first=True)
        real = pad_sequence([torch.ones_like(sample) for sample in samples], batch_first=True)
        grid: Tensor = self.model.model.get_rope_index(
            input_ids=ids,
            mm_token_type_ids=(ids == self.image_token_id).int(),
            image_grid_thw=inputs["image_grid_thw"],
            attention_mask=real,
        )[0]
        places[1:] = grid[:, real.bool()].view(3, *places_NS.shape)
        return places

    def shape_key(self, features: Features) -> tuple[int, ...]:
        return tuple(features["image_grid_thw"].flatten().tolist())
