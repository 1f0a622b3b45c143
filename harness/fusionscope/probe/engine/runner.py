"""Running rows of tokens against images in batches that fit, with one cached prefix per image where that is exact.

Shapes: A images, R rows, T reads per row, C target tokens per read, L layers, D width.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.lens import Lens, option_logits
from fusionscope.lvlm import IMAGE, LVLM, Batch, Features, PaddingSide, common_prefix, repeat_cache, stack
from fusionscope.probe.engine.execution import Progress
from fusionscope.probe.engine.memory import HEAD_ELEMENTS, out_of_memory
from fusionscope.probe.engine.scoring import Rows

T = TypeVar("T")


@dataclass(kw_only=True)
class Budget:
    """How many sequences or images run at once; out of memory halves it, down to one.

    Args:
        rows: How many per pass.
        alone: False where the weights are sharded: then a rank cannot try again by itself.
        of: What they are.
        smaller: What a user can do where a rank cannot.
    """

    rows: int
    alone: bool = True
    of: str = "sequence"
    smaller: str = "give batch_size= a smaller number"

    def attempt(self, work: Callable[[int], T]) -> T | None:
        """The result of ``work(rows)``, or None after running out of memory and halving."""
        try:
            return work(self.rows)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if not self.alone:
                raise InputError(
                    f"out of memory with {self.rows} {self.of}s at a time",
                    "the other ranks are in the same pass, so that this one cannot try a smaller batch",
                    self.smaller,
                ) from error
            if self.rows == 1:
                raise InputError(
                    f"out of memory with one {self.of} at a time",
                    f"the model leaves no room for a single pass ({error})",
                    "free memory, probe fewer layers at once, or load the model with device_map='auto'",
                ) from error
        # Outside the handler: the traceback would keep the failed pass's tensors alive.
        self.rows = max(1, self.rows // 2)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Everything that stays the same over the passes of one probe.

    Args:
        lvlm: The model.
        layers: Layer numbers.
        lens: Hidden states to logits.
        budget: Sequences per pass.
        share_prefix: Use one prefix cache per image where the adapter allows it.
        side: Where rows are padded.
        progress: Told how far the probe is.
        tokens: Real tokens that went through the decoder, as one-element list.
    """

    lvlm: LVLM
    layers: Sequence[int]
    lens: Lens
    budget: Budget
    share_prefix: bool = True
    side: PaddingSide = "right"
    progress: Progress | None = None
    tokens: list[int] = field(default_factory=lambda: [0])

    def crossed(self, images: Sequence[Features], rows: Rows) -> Tensor:
        """Every row against every image: log-probabilities float32 [L, A, R, T, C] on the CPU."""
        found: list[Tensor | None] = [None] * len(images)
        done, total = 0, len(images) * len(rows.ids)
        for members in _alike(self.lvlm, images):
            plan = self._layout(images[members[0]], rows)
            while members:
                take = max(1, self.budget.rows // len(rows.ids))
                chunk = members[:take]
                result = self.budget.attempt(partial(self._cells, [images[i] for i in chunk], rows, plan))
                if result is None:
                    continue
                for column, i in enumerate(chunk):
                    found[i] = result[:, column]
                members = members[take:]
                done += len(chunk) * len(rows.ids)
                self.tokens[0] += len(chunk) * plan.tokens
                if self.progress is not None:
                    self.progress(done, total)
        return torch.stack([one for one in found if one is not None], dim=1).cpu()

    def _layout(self, image: Features, rows: Rows) -> "Layout":
        # Candidates that begin alike share tokens as well; what is read there must stay out of the prefix.
        first = [len(row) + reads for row, reads in zip(rows.ids, rows.reads.amin(-1).tolist(), strict=True)]
        shared = min(common_prefix(rows.ids), *first)
        cached = self.share_prefix and self.lvlm.adapter.prefix_shareable and IMAGE in rows.ids[0][:shared]
        return layout(self.lvlm, image, rows.ids, shared if cached else 0)

    def _cells(self, images: Sequence[Features], rows: Rows, plan: "Layout", at_once: int) -> Tensor:
        cache = None
        if plan.prefix:
            cache = self.lvlm.prefix(
                Batch(
                    ids=torch.tensor(plan.prefix).expand(len(images), -1),
                    positions=_repeat_rows(plan.prefix_positions.unsqueeze(-2), len(images)),
                    mask=None,
                    images=images,
                    keep_cache=True,
                )
            )
        width = max(1, at_once // len(images))
        parts = [
            self._some_rows(images, rows, plan, cache, range(start, min(start + width, len(rows.ids))))
            for start in range(0, len(rows.ids), width)
        ]
        return torch.cat(parts, dim=2)

    def _some_rows(self, images: Sequence[Features], rows: Rows, plan: "Layout", cache: Any, which: range) -> Tensor:
        """[L, images, rows in ``which``, T, C]."""
        n = len(images)
        one = stack(
            [plan.tails[r] for r in which],
            [plan.tail_positions[r] for r in which],
            pad_id=self.lvlm.adapter.pad_id,
            prefix=len(plan.prefix),
            # Padding between prefix and question would take up room in a sliding window.
            side="right" if plan.prefix and self.lvlm.adapter.slides else self.side,
        )
        ends = torch.tensor([start + len(plan.tails[r]) for start, r in zip(one.starts, which, strict=True)])
        columns = ends[:, None] + rows.reads[which.start : which.stop]
        batch = Batch(
            ids=one.ids.repeat(n, 1),
            positions=_repeat_rows(one.positions, n),
            mask=None if one.mask is None else one.mask.repeat(n, 1),
            images=() if cache is not None else [image for image in images for _ in which],
            prefix_images=() if cache is None else [image for image in images for _ in which],
            cache=None if cache is None else repeat_cache(cache, len(which)),
            starts=one.starts * n,
            answers=(columns.amin(-1) + 1).repeat(n),
            texts=rows.texts_of(which) * n if self.lvlm.adapter.image_reads_question else (),
        )
        hidden = self.lvlm.read(batch, self.layers, columns.repeat(n, 1))
        targets = rows.targets[which.start : which.stop].repeat(n, 1, 1)
        return self.logprob(hidden, targets).reshape(len(self.layers), n, len(which), *targets.shape[1:])

    def logprob(self, hidden: dict[int, Tensor], targets: Tensor) -> Tensor:
        """Log-probabilities of target tokens [N, T, C] at every layer: float32 [L, N, T, C], where the model is."""
        step = max(1, HEAD_ELEMENTS // (self.lvlm.adapter.text_config.vocab_size * targets.shape[1]))
        found = []
        # Once: a copy in every layer would make the CPU wait for the GPU in every layer.
        targets = targets.to(self.lvlm.adapter.device)
        for layer in self.layers:
            parts = []
            for some, wanted in zip(torch.split(hidden[layer], step), torch.split(targets, step), strict=True):
                chosen, total = option_logits(self.lens(some, layer), wanted)
                parts.append(chosen - total.unsqueeze(-1))
            found.append(torch.cat(parts))
        # Layers of a model over several devices may be read on several.
        return torch.stack([one.to(found[-1].device) for one in found])


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Token ids and positions of all rows for images of one shape.

    Args:
        prefix: Expanded ids that every row begins with; empty where nothing is shared.
        prefix_positions: [P] or [3, P].
        tails: Expanded ids of each row after the prefix.
        tail_positions: [S] or [3, S] of each row.
    """

    prefix: list[int]
    prefix_positions: Tensor
    tails: list[list[int]]
    tail_positions: list[Tensor]

    @property
    def tokens(self) -> int:
        """Tokens of one image's prefix and all its rows."""
        return len(self.prefix) + sum(map(len, self.tails))


def layout(lvlm: LVLM, image: Features, ids: Sequence[Sequence[int]], shared: int) -> Layout:
    """Put an image's tokens into rows of which the first ``shared`` ids are common."""
    tokens = lvlm.adapter.expand(image)
    whole = [expanded(row, tokens) for row in ids]
    places = [lvlm.adapter.positions(row, image) for row in whole]
    cut = shared + len(tokens) - 1 if shared else 0
    return Layout(
        prefix=whole[0][:cut],
        prefix_positions=places[0][..., :cut],
        tails=[row[cut:] for row in whole],
        tail_positions=[place[..., cut:] for place in places],
    )


def expanded(row: Sequence[int], image_tokens: Sequence[int]) -> list[int]:
    """A row with `IMAGE` replaced by the image's tokens; a row without one as it is."""
    if IMAGE not in row:
        return list(row)
    at = list(row).index(IMAGE)
    return [*row[:at], *image_tokens, *row[at + 1 :]]


def _alike(lvlm: LVLM, images: Sequence[Features]) -> list[list[int]]:
    """Indices of images grouped by what their tokens look like."""
    keys = [lvlm.adapter.shape_key(image) for image in images]
    order = sorted(range(len(images)), key=lambda i: keys[i])
    return [list(group) for _, group in groupby(order, key=lambda i: keys[i])]


def _repeat_rows(positions: Tensor, n: int) -> Tensor:
    """[R, S] or [3, R, S] to n times as many rows."""
    return positions.repeat(*[1] * (positions.ndim - 2), n, 1)
