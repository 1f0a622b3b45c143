"""Training a tuned lens on a task's pictures and questions, and keeping it with the hash of the model it is for.

Shapes: N positions, D width.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from fusionscope.lens import LogitLens, TunedLens
from fusionscope.lvlm import LVLM, FeatureCache, undisturbed, weights_fingerprint
from fusionscope.lvlm.batch import stack
from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.engine.memory import SHARE_OF_FREE
from fusionscope.probe.engine.runner import expanded
from fusionscope.probe.engine.session import features_of, rows_of
from fusionscope.tasks import HeldOutTask


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
    """A tuned lens for a model as it is now, trained on conversations with pictures.

    The pairs are drawn from all pictures and questions of a crossable task, else from its natural pairs; train on
    other pictures than those that are probed. The model is left as found.

    Args:
        lvlm: The model.
        task: Where pictures and questions come from.
        steps: Batches.
        batch_size: Conversations per batch.
        positions: Last positions of each conversation that are read.
        learning_rate: Of the translators.
        feature_cache: Vision features kept between calls.
        seed: Of the pairs drawn.

    Returns:
        The lens and the loss of each step in bits.
    """
    lens = _beside(lvlm, new_lens(lvlm), copies=4)  # the gradient and Adam's two moments
    with undisturbed(lvlm.model):
        losses = lens.fit(
            _batches(lvlm, task, steps, batch_size, positions, feature_cache, seed), learning_rate=learning_rate
        )
    return lens, losses


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
    """The lens on the model's GPU where so many copies fit well: else every pass would copy D x D numbers per layer."""
    device = lvlm.adapter.device
    if device.type != "cuda":
        return lens
    needed = copies * sum(value.nbytes for value in lens.parameters())
    return lens.to(device) if needed <= SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0] else lens


def _batches(
    lvlm: LVLM,
    task: HeldOutTask,
    steps: int,
    batch_size: int,
    positions: int,
    feature_cache: FeatureCache | None,
    seed: int,
) -> Iterator[dict[int, Tensor]]:
    rows = rows_of(lvlm, task.questions, "sequence")
    images = features_of(lvlm, task, Execution(feature_cache=feature_cache))
    pairs = task.pairs
    if task.crossable:
        pairs = torch.cartesian_prod(torch.arange(len(task.images)), torch.arange(len(task.questions)))
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
