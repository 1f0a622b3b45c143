"""The crossed design: every image with every question, so that no modality has to be masked.

p(y | image) and p(y | question) are means of p(y | image, question) over the other modality: exact, consistent with
each other, and nothing the model reads is out of its distribution. The estimand is the decomposition under the
pair weights: independent images and questions for uniform ones.

Shapes: A images, B questions, K answers, L layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.lens import Lens
from fusionscope.lvlm import LVLM, undisturbed
from fusionscope.pid.estimators import GridSample, Sample
from fusionscope.probe.designs.base import Design, Sampling
from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.engine.scoring import to_posteriors
from fusionscope.probe.engine.session import prepare
from fusionscope.probe.posteriors import GridPosteriors
from fusionscope.tasks import HeldOutTask


@dataclass(frozen=True, kw_only=True)
class Crossed(Design):
    """p(y | image, question) of the whole grid; nothing is drawn and nothing is masked."""

    name: ClassVar[str] = "crossed"
    sample: ClassVar[type[Sample]] = GridSample
    default_law: ClassVar[str] = "uniform"

    @property
    def sentence(self) -> str:
        return (
            "Every image was shown with every question; p(y|image) and p(y|question) are the means of "
            "p(y|image, question) over the other modality under the law named (crossed design), so nothing was masked."
        )

    def check(self, task: HeldOutTask) -> None:
        if not task.crossable:
            raise InputError(
                f"design 'crossed' for task {task.name!r}",
                "its questions are about one image each, so that other pairs mean nothing",
                "use design='learned' (natural pairs), or design='masked' to mask a modality knowingly",
            )

    def laws(self, task: HeldOutTask, wanted: str | Sequence[str]) -> tuple[str, ...]:
        names = tuple(task.pair_weights) if wanted == "all" else tuple(wanted)
        for name in names:
            if name not in task.pair_weights:
                raise UnknownNameError(
                    f"law {name!r} for task {task.name!r}",
                    f"it has {', '.join(sorted(task.pair_weights)) or 'none'}",
                    "use one of these, or add the weights to the task's pair_weights",
                )
        return names

    def sample_size(self, task: HeldOutTask, spec: Sampling) -> tuple[int, int]:
        return len(task.images), len(task.questions)

    def posteriors(
        self, lvlm: LVLM, task: HeldOutTask, layers: Sequence[int], lens: Lens, spec: Sampling, execution: Execution
    ) -> GridPosteriors:
        self.check(task)
        start = perf_counter()
        with undisturbed(lvlm.model):
            rows, features, passes = prepare(lvlm, task, layers, lens, spec.scoring, execution, task.name)
            score, logprob = rows.fold(passes.crossed(features, rows))
        posterior, mass = to_posteriors(score, logprob, spec.fallback)
        return GridPosteriors(
            task=task.name,
            design=self.name,
            layers=tuple(layers),
            n_layers=lvlm.n_layers,
            mass=mass,
            conditionals=posterior,
            seconds=perf_counter() - start,
            tokens=passes.tokens[0],
            batch_rows=passes.budget.rows,
        )
