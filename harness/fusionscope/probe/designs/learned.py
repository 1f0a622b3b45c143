"""The learned design: p(y | image) and p(y | question) are fitted, on frozen features, to the model's own answers.

The estimand is observational: natural pairs, redundancy that comes from dependent images and questions included. What
the classifier misses is missing from the informations: they are biased down, and synergy up.

Shapes: N pairs, K answers, L layers, D width.
"""

from collections.abc import Sequence
from functools import partial
from time import perf_counter

import torch
from torch import Tensor

from fusionscope.lvlm import IMAGE, LVLM, Features, undisturbed
from fusionscope.probe.designs.classifier import cross_fit
from fusionscope.probe.engine.pairs import run_pairs
from fusionscope.probe.engine.placement import on_device
from fusionscope.probe.engine.scoring import Rows, to_posteriors
from fusionscope.probe.engine.session import Settings, chosen_pairs, features_of, passes_for, rows_of
from fusionscope.probe.posteriors import Posteriors
from fusionscope.tasks import HeldOutTask


def learned_posteriors(
    lvlm: LVLM, task: HeldOutTask, layers: Sequence[int], settings: Settings, seed: int
) -> Posteriors:
    """p(y | image, question) of natural pairs, and cross-fitted p(y | image) and p(y | question).

    Folds keep the pairs of one image together.

    Raises:
        InputError: All pairs are of one image.
    """
    start = perf_counter()
    with undisturbed(lvlm.model):
        rows = rows_of(lvlm, task.questions, settings.scoring)
        images = features_of(lvlm, task, settings)
        passes = passes_for(lvlm, layers, images, rows, settings, f"{task.name} (learned)")
        pairs, answers = chosen_pairs(task, settings, seed)
        score, logprob = rows.fold(run_pairs(passes, images, rows, pairs).flatten(1, 2))
        sights, texts = image_features(images), text_features(lvlm, rows)
    joint, mass = to_posteriors(score, logprob, settings.fallback)
    fit = partial(cross_fit, folds=settings.folds, seed=seed)
    fits = {
        name: on_device(
            lvlm.adapter.device, "fit classifiers to features", fit, features, pairs[:, column], joint, pairs[:, 0]
        ).cpu()
        for name, column, features in (("vision", 0, sights), ("language", 1, texts))
    }
    return Posteriors(
        task=task.name,
        design="learned",
        layers=tuple(layers),
        n_layers=lvlm.n_layers,
        mass=mass,
        joint=joint,
        **fits,
        pairs=pairs,
        pair_answers=answers,
        seconds=perf_counter() - start,
        tokens=passes.tokens[0],
        batch_rows=passes.budget.rows,
        details={"folds": float(settings.folds)},
    )


def image_features(images: Sequence[Features]) -> Tensor:
    """Mean and standard deviation of each image's tokens, float64 [A, 2 D]."""
    states = [image["embeddings" if "embeddings" in image else "features"].double().cpu() for image in images]
    return torch.stack([torch.cat([one.mean(0), one.std(0, correction=0)]) for one in states])


def text_features(lvlm: LVLM, rows: Rows) -> Tensor:
    """Mean and position-weighted mean of each question's word embeddings, float64 [B, 2 D].

    The second tells orders of the same words apart.
    """
    found = []
    for b in range(rows.n_questions):
        ids = [i for i in rows.ids[b * rows.per_question] if i != IMAGE]
        words = lvlm.adapter.embedding(torch.tensor(ids, device=lvlm.adapter.device)).double().cpu()
        place = torch.linspace(-1, 1, len(ids), dtype=words.dtype)
        found.append(torch.cat([words.mean(0), (words * place[:, None]).mean(0)]))
    return torch.stack(found)
