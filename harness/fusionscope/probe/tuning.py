"""Training a tuned lens on a task, comparing it with the logit lens, keeping it with the hash of the model it is for.

Shapes: N positions, D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.lens import Lens, LensComparison, LogitLens, TunedLens, divergence
from fusionscope.lvlm import LVLM, FeatureCache, stack, undisturbed, weights_fingerprint
from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.engine.memory import SHARE_OF_FREE
from fusionscope.probe.engine.runner import expanded
from fusionscope.probe.engine.session import features_of, rows_of
from fusionscope.tasks import HeldOutTask

_COMPARED_BATCHES = 4  # of 16 pairs


def train_tuned_lens(
    lvlm: LVLM,
    task: HeldOutTask,
    *,
    steps: int = 250,
    batch_size: int = 16,
    positions: int = 8,
    learning_rate: float = 1e-3,
    feature_cache: FeatureCache | None = None,
    seed: int = 0,
) -> tuple[TunedLens, list[float]]:
    """A tuned lens for a model as it is now, trained on conversations with images.

    The pairs are drawn from all images and questions of a crossable task, else from its natural pairs. A fifth of the
    images is held out: on them the lens is compared with the logit lens. The model is left as found.

    Args:
        lvlm: The model.
        task: Where images and questions come from.
        steps: Batches.
        batch_size: Conversations per batch.
        positions: Last positions of each conversation that are read.
        learning_rate: Of the translators.
        feature_cache: Vision features kept between calls.
        seed: Of the images held out and of the pairs drawn.

    Returns:
        The lens and the loss of each step in bits.

    Raises:
        InputError: Fewer than two images, or a lens that reads held-out images no better than the logit lens.
    """
    lens = _beside(lvlm, new_lens(lvlm), copies=4)  # the gradient and Adam's two moments
    pairs, held_out = _split(task, seed)
    source = _States(lvlm=lvlm, task=task, feature_cache=feature_cache)
    with undisturbed(lvlm.model):
        losses = lens.fit(source.batches(pairs, steps, batch_size, positions, seed), learning_rate=learning_rate)
        _compared(lens, source, held_out, range(lvlm.n_layers), seed).require_better()
    return lens, losses


def compare_lens(
    lvlm: LVLM,
    task: HeldOutTask,
    lens: Lens,
    layers: Sequence[int] | None = None,
    *,
    feature_cache: FeatureCache | None = None,
    seed: int = 0,
) -> LensComparison:
    """How far a lens and the logit lens are from the model's answer where a probe of this task reads them.

    Args:
        lvlm: The model.
        task: The task whose last positions are read, of 64 pairs.
        lens: The lens.
        layers: Which layers; all but the last by default.
        feature_cache: Vision features kept between calls.
        seed: Of the pairs drawn.
    """
    below = [layer for layer in (range(lvlm.n_layers) if layers is None else layers) if layer < lvlm.n_layers]
    source = _States(lvlm=lvlm, task=task, feature_cache=feature_cache)
    with undisturbed(lvlm.model):
        return _compared(lens, source, _pairs_of(task), below, seed)


def new_lens(lvlm: LVLM) -> TunedLens:
    """Translators that change nothing yet: the logit lens."""
    lens = LogitLens(norm=lvlm.final_norm, head=lvlm.head)
    return TunedLens(lens, lvlm.n_layers, int(lvlm.adapter.text_config.hidden_size)).requires_grad_(True)


def save_lens(lens: TunedLens, lvlm: LVLM, path: str | Path) -> None:
    """Write a lens with the hash of the model that it was trained for."""
    lens.save(path, weights_fingerprint([lvlm.model]))


def load_lens(path: str | Path, lvlm: LVLM) -> TunedLens:
    """Read a lens; an InputError says so if it belongs to other weights."""
    lens = LogitLens(norm=lvlm.final_norm, head=lvlm.head)
    return _beside(lvlm, TunedLens.load(path, lens, weights_fingerprint([lvlm.model])), copies=1)


def _beside(lvlm: LVLM, lens: TunedLens, copies: int) -> TunedLens:
    """The lens on the model's GPU where its copies fit well: else every pass would copy D x D numbers per layer."""
    device = lvlm.adapter.device
    if device.type != "cuda":
        return lens
    needed = copies * sum(value.nbytes for value in lens.parameters())
    return lens.to(device) if needed <= SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0] else lens


def _pairs_of(task: HeldOutTask) -> Tensor:
    if task.crossable:
        return torch.cartesian_prod(torch.arange(len(task.images)), torch.arange(len(task.questions)))
    return task.pairs


def _split(task: HeldOutTask, seed: int) -> tuple[Tensor, Tensor]:
    """Pairs to train on and pairs of a fifth of the images."""
    pairs = _pairs_of(task)
    images = torch.unique(pairs[:, 0])
    if len(images) < 2:
        raise InputError(
            f"task {task.name!r} has pairs of {len(images)} image",
            "a lens is judged on images that it was not trained on",
            "train on a task with more images",
        )
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    held_out = torch.isin(pairs[:, 0], images[order[: max(1, len(images) // 5)]])
    return pairs[~held_out], pairs[held_out]


@torch.no_grad()
def _compared(lens: Lens, source: "_States", pairs: Tensor, layers: Sequence[int], seed: int) -> LensComparison:
    lvlm = source.lvlm
    logit = LogitLens(norm=lvlm.final_norm, head=lvlm.head)
    bits = []
    for hidden in source.batches(pairs, _COMPARED_BATCHES, 16, 1, seed):
        bits.append([float(divergence(each, logit, hidden, layers)) if layers else 0.0 for each in (lens, logit)])
    tuned, plain = (sum(column) / len(column) for column in zip(*bits, strict=True))
    return LensComparison(lens=lens.name, task=source.task.name, bits=tuned, logit_bits=plain)


@dataclass(frozen=True, kw_only=True)
class _States:
    """Where hidden states of a task's conversations come from."""

    lvlm: LVLM
    task: HeldOutTask
    feature_cache: FeatureCache | None

    def batches(
        self, pairs: Tensor, steps: int, batch_size: int, positions: int, seed: int
    ) -> Iterator[dict[int, Tensor]]:
        """Hidden states [N, D] of every layer at the last positions of pairs drawn at random."""
        lvlm, task = self.lvlm, self.task
        rows = rows_of(lvlm, task.questions, "sequence")
        images = features_of(lvlm, task, Execution(feature_cache=self.feature_cache))
        generator = torch.Generator().manual_seed(seed)
        layers = range(lvlm.n_layers + 1)
        for _ in range(steps):
            drawn = pairs[torch.randint(len(pairs), (batch_size,), generator=generator)].tolist()
            chosen = [rows.ids[b * rows.per_question] for _, b in drawn]
            whole = [expanded(ids, lvlm.adapter.expand(images[a])) for ids, (a, _) in zip(chosen, drawn, strict=True)]
            batch = stack(
                whole,
                [lvlm.adapter.positions(ids, images[a]) for ids, (a, _) in zip(whole, drawn, strict=True)],
                pad_id=lvlm.adapter.pad_id,
                images=[images[a] for a, _ in drawn],
                texts=rows.texts_of([b * rows.per_question for _, b in drawn]),
            )
            last = torch.arange(-min(positions, min(map(len, whole))), 0)
            columns = torch.tensor([len(ids) for ids in whole])[:, None] + last
            hidden = lvlm.read(batch, layers, columns)
            yield {layer: value.flatten(0, 1) for layer, value in hidden.items()}
