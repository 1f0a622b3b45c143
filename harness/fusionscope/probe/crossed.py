"""The crossed design: every image with every question, so that no modality has to be masked.

p(y | image) and p(y | question) are means of p(y | image, question) over the other modality: exact, consistent with
each other, and nothing the model reads is out of its distribution. The estimand is the decomposition under the
pair weights: independent images and questions for uniform ones.

Shapes: A images, B questions, K answers, L layers.
"""

from collections.abc import Sequence
from time import perf_counter

import torch
from torch import Tensor

from fusionscope import pid
from fusionscope.data import HeldOutTask
from fusionscope.errors import InputError
from fusionscope.lvlm import LVLM, undisturbed
from fusionscope.probe.result import Posteriors
from fusionscope.probe.scoring import to_posteriors
from fusionscope.probe.session import Settings, features_of, passes_for, rows_of


def crossed_posteriors(lvlm: LVLM, task: HeldOutTask, layers: Sequence[int], settings: Settings) -> Posteriors:
    """p(y | image, question) of the whole grid.

    Raises:
        InputError: The task's questions do not make sense with every image.
    """
    if not task.crossable:
        raise InputError(
            f"design 'crossed' for task {task.name!r}",
            "its questions are about one image each, so that other pairs mean nothing",
            "use design='learned' (natural pairs), or design='masked' to mask a modality knowingly",
        )
    start = perf_counter()
    with undisturbed(lvlm.model):
        rows = rows_of(lvlm, task.questions, settings.scoring)
        features = features_of(lvlm, task, settings)
        passes = passes_for(lvlm, layers, features, rows, settings, task.name)
        score, logprob = rows.fold(passes.crossed(features, rows))
    posterior, mass = to_posteriors(score, logprob, settings.fallback)
    return Posteriors(
        task=task.name,
        design="crossed",
        layers=tuple(layers),
        n_layers=lvlm.n_layers,
        mass=mass,
        crossed=posterior,
        seconds=perf_counter() - start,
        tokens=passes.tokens[0],
        batch_rows=passes.budget.rows,
    )


def decompose(p_LABK: Tensor, task: HeldOutTask, weights: Tensor, *, standard_errors: bool) -> pid.PIDResult:
    """Atoms of all layers under weights [A, B]; plug-in bias is corrected along axes that are samples."""
    return pid.pid_crossed(
        p_LABK,
        weights,
        standard_errors=standard_errors,
        images_enumerated=task.images_enumerated,
        questions_enumerated=task.questions_enumerated,
    )


def accuracies(p_LABK: Tensor, weights: Tensor, truth: Tensor | None) -> dict[str, Tensor]:
    """Accuracy with both modalities and without either, float64 [L] each.

    Without the image the answer to question b is the most probable one of the mean over images; pairs whose answer is
    not known (-1) do not count.

    Args:
        p_LABK: Posteriors of the grid.
        weights: float64 [A, B] over pairs.
        truth: int64 [A, B] or None.
    """
    names = ("accuracy", "accuracy_without_image", "accuracy_without_text")
    if truth is None:
        return {name: torch.full(p_LABK.shape[:1], float("nan"), dtype=torch.float64) for name in names}
    joint = weights.unsqueeze(-1) * p_LABK
    answers = (
        p_LABK.argmax(-1),
        joint.sum(1, keepdim=True).argmax(-1).expand(p_LABK.shape[:-1]),
        joint.sum(2, keepdim=True).argmax(-1).expand(p_LABK.shape[:-1]),
    )
    known = weights * (truth >= 0)
    return {
        name: ((answer == truth) * known).sum((-1, -2)) / known.sum()
        for name, answer in zip(names, answers, strict=True)
    }
