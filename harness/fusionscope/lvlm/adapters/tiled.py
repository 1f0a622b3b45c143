"""Families that cut an image into tiles in rows and columns, each announced by a token of its own."""

from collections.abc import Sequence
from typing import Any

import torch

from fusionscope.lvlm.adapters.base import Features
from fusionscope.lvlm.adapters.stream import StreamAdapter


class TiledAdapter(StreamAdapter):
    """Idefics3 and its like: the tiles row by row, and the whole image last."""

    kept = ("rows", "cols")
    layout_only = ("rows", "cols")

    def process(self, images: Sequence[Any]) -> list[Features]:
        return [self._tiles(image) for image in images]

    def _tiles(self, image: Any) -> Features:
        outputs = self._processed([[image]], return_row_col_info=True)
        grid = {name: torch.tensor([outputs[name][0][0]]) for name in ("rows", "cols")}
        return {**{name: outputs[name] for name in ("pixel_values", "pixel_attention_mask")}, **grid}

    def expand(self, features: Features) -> list[int]:
        rows = int(features["rows"])
        cols = int(features["cols"])
        tiles = rows * cols + 1
        tile = self.family.prompt.image_text * (features["embeddings"].shape[0] // tiles)
        fake = "<fake_token_around_image>"
        text = "".join(
            "".join(f"{fake}<row_{r + 1}_col_{c + 1}>{tile}" for c in range(cols)) + "\n" for r in range(rows)
        )
        text += "\n" * (tiles > 1) + f"{fake}<global-img>{tile}{fake}"
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def shape_key(self, features: Features) -> tuple[int, ...]:
        return (features["embeddings"].shape[0], int(features["rows"]), int(features["cols"]))
