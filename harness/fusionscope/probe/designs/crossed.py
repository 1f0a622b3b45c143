"""The crossed design: every image with every question, so that no modality has to be masked.

p(y | image) and p(y | question) are means of p(y | image, question) over the other modality: exact, consistent with
each other, and nothing the model reads is out of its distribution. The estimand is the decomposition under the
pair weights: independent images and questions for uniform ones.

Shapes: A images, B questions, K answers, L layers.
"""

from collections.abc import Sequence
from time import perf_counter

from fusionscope.errors import InputError
from fusionscope.lvlm import LVLM, undisturbed
from fusionscope.probe.engine.scoring import to_posteriors
from fusionscope.probe.engine.session import Settings, features_of, passes_for, rows_of
from fusionscope.probe.posteriors import Posteriors
from fusionscope.tasks import HeldOutTask


def crossed_posteriors(
    lvlm: LVLM, task: HeldOutTask, layers: Sequence[int], settings: Settings, seed: int
) -> Posteriors:
    """p(y | image, question) of the whole grid; nothing is drawn, so ``seed`` changes nothing.

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
