"""The natural pairs as they are: what they identify, and no more.

A benchmark asks a few questions of an image. p(y | image) is a mean over the law of questions, of which these are all
(benchmark law) or some (population law); nothing is masked, exchanged or learned. Where the rows do not identify a
number, the result is an interval.

Shapes: N pairs, K answers, L layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar

import torch
from torch import Tensor

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.lens import Lens
from fusionscope.lvlm import LVLM, undisturbed
from fusionscope.pid.estimators import RowSample, Sample
from fusionscope.probe.designs.base import Design, Sampling
from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.engine.pairs import run_pairs
from fusionscope.probe.engine.scoring import to_posteriors
from fusionscope.probe.engine.session import prepare
from fusionscope.probe.posteriors import RowPosteriors
from fusionscope.tasks import HeldOutTask


@dataclass(frozen=True, kw_only=True)
class Rows(Design):
    """p(y | image, question) of the natural pairs, whole images at a time."""

    name: ClassVar[str] = "rows"
    sample: ClassVar[type[Sample]] = RowSample
    default_law: ClassVar[str] = "population"

    @property
    def sentence(self) -> str:
        return (
            "Images were shown with the questions that the task asks of them, and with no others (rows); the numbers "
            "are intervals of what these pairs identify under the law of questions named, sampling error at 95 % "
            "included."
        )

    def check(self, task: HeldOutTask) -> None:
        if int((torch.bincount(task.pairs[:, 0]) > 0).sum()) < 2:
            raise InputError(
                f"design 'rows' for task {task.name!r}",
                "its natural pairs are about fewer than two images, of which nothing follows for others",
                "give it pairs about more images, or use design 'crossed'",
            )

    def laws(self, task: HeldOutTask, wanted: str | Sequence[str]) -> tuple[str, ...]:
        names = tuple(task.row_laws) if wanted == "all" else tuple(wanted)
        for name in names:
            if name not in task.row_laws:
                raise UnknownNameError(
                    f"law {name!r} for the natural pairs of task {task.name!r}",
                    f"they stand under {', '.join(sorted(task.row_laws))}",
                    "use one of these, or design 'crossed' for laws over the grid",
                )
        return names

    def sample_size(self, task: HeldOutTask, spec: Sampling) -> tuple[int, int]:
        pairs = task.pairs[chosen_rows(task, spec)]
        images, questions = (len(column.unique()) for column in pairs.T)
        return images, questions

    def posteriors(
        self, lvlm: LVLM, task: HeldOutTask, layers: Sequence[int], lens: Lens, spec: Sampling, execution: Execution
    ) -> RowPosteriors:
        start = perf_counter()
        places = chosen_rows(task, spec)
        pairs = task.pairs[places]
        with undisturbed(lvlm.model):
            title = f"{task.name} ({self.name})"
            rows, images, passes = prepare(lvlm, task, layers, lens, spec.scoring, execution, title)
            score, logprob = rows.fold(run_pairs(passes, images, rows, pairs).flatten(1, 2))
        joint, mass = to_posteriors(score, logprob, spec.fallback)
        return RowPosteriors(
            task=task.name,
            design=self.name,
            layers=tuple(layers),
            n_layers=lvlm.n_layers,
            mass=mass,
            joint=joint,
            pairs=pairs,
            pair_answers=task.pair_answers[places],
            laws={name: law.select(places) for name, law in task.row_laws.items()},
            seconds=perf_counter() - start,
            tokens=passes.tokens[0],
            batch_rows=passes.budget.rows,
        )


def chosen_rows(task: HeldOutTask, spec: Sampling) -> Tensor:
    """Places of the pairs that are run, int64 [N]: all, or those about images drawn until ``max_pairs`` is reached.

    Images come with all of their pairs: pairs drawn one by one would be a sample of neither law.

    Raises:
        InputError: ``max_pairs`` leaves fewer than two images.
    """
    image_N = task.pairs[:, 0]
    if spec.max_pairs is None or len(image_N) <= spec.max_pairs:
        return torch.arange(len(image_N))
    images, inverse_N, counts = torch.unique(image_N, return_inverse=True, return_counts=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(spec.seed))
    kept = order[counts[order].cumsum(0) <= spec.max_pairs]
    if len(kept) < 2:
        raise InputError(
            f"max_pairs={spec.max_pairs} for task {task.name!r}",
            f"whole images are drawn, with {int(counts.float().mean().ceil())} questions each or so, and it takes two",
            "raise max_pairs",
        )
    return torch.isin(inverse_N, kept).nonzero()[:, 0]
