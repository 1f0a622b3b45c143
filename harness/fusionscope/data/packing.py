"""Several samples in one row: what padding would cost is saved, and nothing else changes.

Shapes: B samples of a padded batch, T its width; R rows, S their width.
"""

import heapq
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fusionscope.data.collate import IGNORE
from fusionscope.data.conversation import parse
from fusionscope.data.marked import Filling, Marked
from fusionscope.errors import ConfigError
from fusionscope.lvlm import PACKED_TOKENS, PackedRows


class Packing:
    """Collate marked rows, then lay the samples of the batch into fewer rows.

    Only samples that share a batch anyway share a row, so the batch, its loss over supervised tokens, the update, the
    data's order on any number of ranks and what a resumed run continues with are those without packing. Peers call this
    padding-free batching; they mean by packing that samples of the whole data set fill rows, which changes the batches.

    Args:
        collate: Makes a padded batch, each sample cut to ``max_length``.
        rows: How the model is packed for.
        max_length: Widest row in tokens, unless the model takes a single row only.
    """

    def __init__(self, collate: Filling, rows: PackedRows, max_length: int) -> None:
        self.collate = collate
        self.rows = rows
        self.max_length = max_length

    def __call__(self, marked: Sequence[Marked]) -> dict[str, Any]:
        """Collate and pack; see `pack`."""
        marked, batch = self.collate.filled(marked)
        images = [len(parse(sample.row).images) for sample in marked]
        images += [1] * (len(batch["input_ids"]) - len(images))  # the collator's black image
        lengths = batch["attention_mask"].sum(1).tolist()
        layout = [list(range(len(lengths)))] if self.rows.one_row else partition(lengths, self.max_length)
        return pack(batch, layout, images, self.rows)


def partition(lengths: Sequence[int], widest: int) -> list[list[int]]:
    """Which samples share a row, so that rows times width, what the language model computes, is least.

    For each number of rows, the longest sample that is left goes to the shortest row; of two layouts that cost the same
    the narrower one is taken, whose attention is cheaper.

    Args:
        lengths: Tokens of each sample, none above ``widest``.
        widest: Most tokens of a row.

    Returns:
        The rows' samples, in order.

    Reference: Graham 1969, "Bounds on multiprocessing timing anomalies" (longest processing time first).

    >>> partition([5, 2, 3, 9], widest=10)
    [[0, 1, 2], [3]]
    """
    layouts = [_balanced(lengths, n) for n in range(max(1, sum(lengths) // widest), len(lengths) + 1)]
    widths = [max(sum(lengths[i] for i in row) for row in rows) for rows in layouts]
    fitting = [(len(rows) * width, width, rows) for rows, width in zip(layouts, widths, strict=True) if width <= widest]
    return min(fitting)[2]


def _balanced(lengths: Sequence[int], n: int) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(n)]
    heap = [(0, k) for k in range(n)]
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length, k = heapq.heappop(heap)
        rows[k].append(i)
        heapq.heappush(heap, (length + lengths[i], k))
    return sorted(sorted(row) for row in rows)


def pack(
    batch: dict[str, Any], layout: Sequence[Sequence[int]], images: Sequence[int], how: PackedRows
) -> dict[str, Any]:
    """A padded batch in rows of several samples.

    Args:
        batch: Tensors of a batch padded on the right.
        layout: The samples of each row.
        images: Number of images of each sample.
        how: Where the images' tensors belong, and what stands after a row's last sample.

    Returns:
        The model's inputs without an attention mask, whose absence makes transformers read ``position_ids`` int64
        [R, S], which begin again at 0 with every sample; ``labels`` without each sample's first token, as in a padded
        batch nothing predicts it; images in the order of their tokens; and `PACKED_TOKENS`.

    Raises:
        ConfigError: The processor makes an input of which it is not known to which sample its entries belong.
    """
    shape = batch["input_ids"].shape
    lengths = batch["attention_mask"].sum(1).tolist()
    order = [i for row in layout for i in row]
    counts = _entries(batch, images, how)
    batch = {**batch, "labels": batch["labels"].clone()}
    batch["labels"][:, 0] = IGNORE
    fills = {"input_ids": how.pad_id, "labels": IGNORE}
    packed: dict[str, Any] = {}
    for name, value in batch.items():
        if name in counts:
            pieces = value.split(counts[name])
            packed[name] = torch.cat([pieces[i] for i in order])
        elif not isinstance(value, Tensor):
            packed[name] = value
        elif value.shape == shape:
            packed[name] = _rows([value[i, :n] for i, n in enumerate(lengths)], layout, fills.get(name, 0))
        else:
            raise ConfigError(
                f"packing with the processor's output {name!r} of shape {tuple(value.shape)}",
                "the model's family doesn't say to which sample its entries belong",
                "set data.packing to false; in a Family of your own, name it in its ImageInputs",
            )
    positions = _rows([torch.arange(n) for n in lengths], layout, -1)
    padding = positions < 0  # one more sample, so that no real one has it behind
    positions = torch.where(padding, padding.cumsum(1) - 1, positions)
    del packed["attention_mask"]
    return {**packed, "position_ids": positions, PACKED_TOKENS: torch.tensor(sum(lengths))}


def _rows(samples: Sequence[Tensor], layout: Sequence[Sequence[int]], fill: int) -> Tensor:
    rows = [torch.cat([samples[i] for i in row]) for row in layout]
    return pad_sequence(rows, batch_first=True, padding_value=fill)


def _entries(batch: dict[str, Any], images: Sequence[int], how: PackedRows) -> dict[str, list[int]]:
    """How many entries of each image tensor belong to each sample; tensors that do not divide evenly are left out."""
    tokens = (batch["input_ids"] == how.image_token_id).sum(1).tolist()
    samples = [1] * len(tokens)
    units = ((how.inputs.per_image, images), (how.inputs.per_sample, samples), (how.inputs.per_token, tokens))
    counts = {
        name: [units_of_sample * len(batch[name]) // max(sum(per_sample), 1) for units_of_sample in per_sample]
        for names, per_sample in units
        for name in names
        if name in batch
    }
    return {name: count for name, count in counts.items() if sum(count) == len(batch[name])}
