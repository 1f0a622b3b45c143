"""Sequences side by side, after a cached prefix or without one.

Shapes: N sequences, P cached positions, S new positions, T = P + S.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

PaddingSide = Literal["right", "left"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one forward pass reads.

    Args:
        ids: int64 [N, S], the new tokens.
        positions: int64 [N, S] or [3, N, S], their positions (three rows for multimodal rotary embeddings).
        mask: int64 [N, T], 0 at padding, or None where nothing is padded.
        images: Features of the images whose tokens are in ``ids``, in the order of the rows; empty after a prefix.
        prefix_images: Features of each row's image after a prefix, whose embeddings are in the cache; else empty.
        cache: Keys and values of the prefix, or None.
        keep_cache: Whether the pass must return a cache.
        starts: First column of each row that is not padding.
        answers: int64 [N], the column after each row's prompt, where tokens of a candidate begin; None where no row
            holds any.
        texts: The user's turn of each row, for families whose image embeddings depend on it; else empty.
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor | None
    images: Sequence[dict[str, Tensor]] = ()
    prefix_images: Sequence[dict[str, Tensor]] = ()
    cache: Any = None
    keep_cache: bool = False
    starts: tuple[int, ...] = ()
    answers: Tensor | None = None
    texts: Sequence[str] = ()


def stack(
    rows: Sequence[Sequence[int]],
    positions: Sequence[Tensor],
    *,
    pad_id: int,
    prefix: int = 0,
    side: PaddingSide = "right",
    **rest: Any,
) -> Batch:
    """Pad rows of token ids to one length.

    Args:
        rows: N sequences of token ids.
        positions: N tensors [S_i] or [3, S_i].
        pad_id: Any valid token id; what stands there is masked.
        prefix: Cached positions before every row.
        side: Where padding goes.
        **rest: Further fields of `Batch`.
    """
    width = max(len(row) for row in rows)
    starts = tuple(width - len(row) if side == "left" else 0 for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    place = torch.zeros(*positions[0].shape[:-1], len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), prefix + width, dtype=torch.long)
    mask[:, :prefix] = 1
    for i, (row, start) in enumerate(zip(rows, starts, strict=True)):
        ids[i, start : start + len(row)] = torch.tensor(row)
        place[..., i, start : start + len(row)] = positions[i]
        mask[i, prefix + start : prefix + start + len(row)] = 1
    padded = any(len(row) != width for row in rows)
    return Batch(ids=ids, positions=place, mask=mask if padded else None, starts=starts, **rest)
