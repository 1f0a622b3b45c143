"""Representation PID: what pooled image states and pooled text states of a layer tell about the final decision.

This is another measure than `probe`: its sources are hidden states inside one pass, not the image and the question, and
text states have read the image from the first attention on. It sees second moments alone. So it has a name of its own
and its numbers never stand beside a probe's.

Shapes: N pairs, S positions, D width, K candidates, L layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.lens import LogitLens
from fusionscope.lvlm import IMAGE, LVLM, stack, undisturbed
from fusionscope.pid import GaussianPID, PIDResult
from fusionscope.probe.designs.base import chosen_pairs
from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.engine.placement import on_device
from fusionscope.probe.engine.runner import Passes, expanded
from fusionscope.probe.engine.scoring import Rows
from fusionscope.probe.engine.session import prepare
from fusionscope.probe.spec import ProbeSpec
from fusionscope.tasks import HeldOutTask

_Parts = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class RepresentationResult:
    """Gaussian PID of one layer's pooled states.

    Args:
        task: The task's name.
        layer: Layer number, as in `ProbeResult`.
        n_layers: Decoder layers of the model.
        pid: Atoms in bits; vision is the mean state of the image's tokens, language that of the text after it.
        n: Pairs.
    """

    task: str
    layer: int
    n_layers: int
    pid: PIDResult
    n: int


def representation_pid(
    lvlm: LVLM,
    task: HeldOutTask,
    *,
    layers: str | int | Sequence[int] = "all",
    components: int = 6,
    max_pairs: int | None = 1000,
    batch_size: int | None = None,
    seed: int = 0,
) -> list[RepresentationResult]:
    """Representation PID of every layer over the natural pairs.

    The target is what the model decides in the end: the candidates' log-probabilities at the last layer, centred.

    Args:
        lvlm: The model.
        task: A task whose candidates are single tokens.
        layers: As in `probe`.
        components: Principal components kept of each source.
        max_pairs: Maximum number of pairs, drawn by the seed.
        batch_size: Sequences per pass; found automatically by default. Out of memory halves it either way.
        seed: Of the draw.

    Raises:
        InputError: The image is not in the token stream, or there are too few pairs.
    """
    numbers = lvlm.layer_numbers(layers)
    if lvlm.adapter.image_enters != "tokens":
        raise InputError(
            f"representation PID of a model of type {lvlm.adapter.model.config.model_type!r}",
            "its image enters through cross-attention: no position holds an image state to pool",
            "use probe, which needs none",
        )
    with undisturbed(lvlm.model):
        execution = Execution(batch_size=batch_size)
        pairs, _ = chosen_pairs(task, ProbeSpec(max_pairs=max_pairs, seed=seed))
        lens = LogitLens(norm=lvlm.final_norm, head=lvlm.head)
        wanted = sorted({*numbers, lvlm.n_layers})
        rows, images, passes = prepare(lvlm, task, wanted, lens, "single", execution, task.name)
        parts = _all_pooled(passes, rows, images, pairs)
    vision, language = (torch.cat([part[i] for part in parts], dim=1) for i in (0, 1))
    decision = torch.cat([part[2] for part in parts])
    target = (decision - decision.mean(-1, keepdim=True))[:, :-1]
    estimator = GaussianPID(components_vision=components, components_language=components, bias_correction=True)
    at = [wanted.index(layer) for layer in numbers]
    atoms = on_device(
        lvlm.adapter.device, "decompose states", estimator.estimate, vision[at], language[at], target
    ).map(Tensor.cpu)
    return [
        RepresentationResult(task=task.name, layer=layer, n_layers=lvlm.n_layers, pid=atoms[i], n=len(pairs))
        for i, layer in enumerate(numbers)
    ]


def _all_pooled(passes: Passes, rows: Rows, images: Sequence[dict[str, Tensor]], pairs: Tensor) -> list[_Parts]:
    """What `_pooled` gives of all pairs, in batches that fit."""
    parts: list[_Parts] = []
    done = 0
    while done < len(pairs):
        some = pairs[done : done + passes.budget.rows]
        part = passes.budget.attempt(partial(_pooled, passes, rows, images, some))
        if part is not None:
            parts.append(part)
            done += len(some)
    return parts


def _pooled(passes: Passes, rows: Rows, images: Sequence[dict[str, Tensor]], pairs: Tensor, _at_once: int) -> _Parts:
    """Mean states of image and of text [L, N, D], and log-probabilities of the candidates at the last layer [N, K]."""
    lvlm, cells = passes.lvlm, pairs.tolist()
    tokens = [lvlm.adapter.expand(images[a]) for a, _ in cells]
    whole = [expanded(rows.ids[b], own) for own, (_, b) in zip(tokens, cells, strict=True)]
    batch = stack(
        whole,
        [lvlm.adapter.positions(ids, images[a]) for ids, (a, _) in zip(whole, cells, strict=True)],
        pad_id=lvlm.adapter.pad_id,
        images=[images[a] for a, _ in cells],
        texts=rows.texts_of([b for _, b in cells]),
    )
    batch = replace(batch, answers=torch.tensor([len(ids) for ids in whole]))
    place = torch.arange(batch.ids.shape[1])
    starts = torch.tensor([rows.ids[b].index(IMAGE) for _, b in cells])[:, None]
    ends = starts + torch.tensor([len(own) for own in tokens])[:, None]
    lengths = torch.tensor([len(ids) for ids in whole])[:, None]
    hidden = lvlm.read(batch, passes.layers, place.expand(len(cells), -1))
    vision = torch.stack([_mean(hidden[layer], (place >= starts) & (place < ends)) for layer in passes.layers])
    text = torch.stack([_mean(hidden[layer], (place >= ends) & (place < lengths)) for layer in passes.layers])
    last = hidden[lvlm.n_layers]
    final = {
        lvlm.n_layers: last[torch.arange(len(cells), device=last.device), (lengths[:, 0] - 1).to(last.device)][:, None]
    }
    targets = rows.targets[[b for _, b in cells]]
    only = replace(passes, layers=[lvlm.n_layers])
    return vision, text, only.logprob(final, targets)[0, :, 0].double().cpu()


def _mean(hidden_NSD: Tensor, where_NS: Tensor) -> Tensor:
    weights = where_NS.to(hidden_NSD.device).double().unsqueeze(-1)
    return ((hidden_NSD.double() * weights).sum(1) / weights.sum(1)).cpu()
