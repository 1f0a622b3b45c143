"""Running chosen (image, question) pairs one by one, with the image or the question's embeddings exchanged.

Shapes: N pairs, R rows per question, T reads per row, C target tokens per read, L layers, S positions, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from fusionscope.lvlm import IMAGE, Batch, Features, stack
from fusionscope.probe.engine.runner import Passes, expanded
from fusionscope.probe.engine.scoring import Rows

Span = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What a masking design puts in the place of a modality; None leaves it.

    Args:
        image: Number of the pair to the image's features.
        question: The question's embeddings [Q, D] and the number of the pair to other embeddings [Q, D].
        spans: Where each question's text lies in its prompt; needed with ``question``.
    """

    image: Callable[[int], Features] | None = None
    question: Callable[[Tensor, int], Tensor] | None = None
    spans: Sequence[Span] = ()


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One row of one pair, ready to run."""

    pair: int
    row: int
    ids: list[int]
    positions: Tensor
    image: Features | None
    question: Span | None


def run_pairs(
    passes: Passes, images: Sequence[Features], rows: Rows, pairs: Tensor, exchange: Exchange | None = None
) -> Tensor:
    """Log-probabilities of target tokens for each pair: float32 [L, N, R, T, C] on the CPU.

    Args:
        passes: How to run.
        images: Features of all images.
        rows: The sequences of all questions.
        pairs: int64 [N, 2], (image, question).
        exchange: What stands in for a modality.
    """
    change = exchange or Exchange()
    found: list[Tensor] = []
    left = list(range(pairs.shape[0]))
    while left:
        chunk = left[: max(1, passes.budget.rows // rows.per_question)]
        cells = [cell for n in chunk for cell in _cells(passes, images, rows, n, pairs[n], change)]
        result = passes.budget.attempt(partial(_run, passes, rows, cells, change))
        if result is None:
            continue
        found.append(result)
        left = left[len(chunk) :]
        passes.tokens[0] += sum(len(cell.ids) for cell in cells)
        if passes.progress is not None:
            passes.progress(pairs.shape[0] - len(left), pairs.shape[0])
    return torch.cat(found, dim=1).cpu()


def _cells(
    passes: Passes, images: Sequence[Features], rows: Rows, pair: int, place: Tensor, change: Exchange
) -> list[_Cell]:
    """The rows of one pair; its image is exchanged, and told as tokens, once."""
    a, b = place.tolist()
    image = images[a] if change.image is None else change.image(pair)
    tokens, first = passes.lvlm.adapter.expand(image), b * rows.per_question
    return [_cell(passes, image, tokens, rows, pair, first + r, change) for r in range(rows.per_question)]


def _cell(
    passes: Passes, image: Features, tokens: Sequence[int], rows: Rows, pair: int, row: int, change: Exchange
) -> _Cell:
    adapter, ids = passes.lvlm.adapter, rows.ids[row]
    whole = expanded(ids, tokens)
    span = change.spans[int(rows.question[row])] if change.spans else None
    if span is not None and IMAGE in ids and ids.index(IMAGE) < span[0]:
        span = (span[0] + len(tokens) - 1, span[1] + len(tokens) - 1)
    return _Cell(
        pair=pair,
        row=row,
        ids=whole,
        positions=adapter.positions(whole, image if IMAGE in ids else None),
        image=image if IMAGE in ids else None,
        question=span,
    )


def _run(passes: Passes, rows: Rows, cells: Sequence[_Cell], change: Exchange, at_once: int) -> Tensor:
    """Whole pairs, whose rows may be more than fit at once."""
    parts = [_pass(passes, rows, cells[i : i + at_once], change) for i in range(0, len(cells), at_once)]
    logprob = torch.cat(parts, dim=1)
    return logprob.reshape(len(passes.layers), -1, rows.per_question, *logprob.shape[2:])


def _pass(passes: Passes, rows: Rows, cells: Sequence[_Cell], change: Exchange) -> Tensor:
    adapter, which = passes.lvlm.adapter, [cell.row for cell in cells]
    batch = stack(
        [cell.ids for cell in cells],
        [cell.positions for cell in cells],
        pad_id=adapter.pad_id,
        side=passes.side,
        images=[cell.image for cell in cells if cell.image is not None],
        texts=rows.texts_of(which) if adapter.image_reads_question else (),
    )
    ends = torch.tensor([start + len(cell.ids) for start, cell in zip(batch.starts, cells, strict=True)])
    columns = ends[:, None] + rows.reads[which]
    batch = replace(batch, answers=columns.amin(-1) + 1)
    edit = None if change.question is None else partial(_edit, cells, batch, change.question)
    hidden = passes.lvlm.read(batch, passes.layers, columns, edit)
    return passes.logprob(hidden, rows.targets[which])


def _edit(
    cells: Sequence[_Cell], batch: Batch, exchange: Callable[[Tensor, int], Tensor], embeds_NSD: Tensor
) -> Tensor:
    edited = embeds_NSD.clone()
    for row, (cell, start) in enumerate(zip(cells, batch.starts, strict=True)):
        if cell.question is not None:
            columns = slice(start + cell.question[0], start + cell.question[1])
            edited[row, columns] = exchange(edited[row, columns], cell.pair).to(edited)
    return edited
