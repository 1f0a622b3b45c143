"""The learned design: p(y | image) and p(y | question) are fitted, on frozen features, to the model's own answers.

The estimand is observational: natural pairs, redundancy that comes from dependent images and questions included. What
the classifier misses is missing from the informations: they are biased down, and synergy up.

Shapes: N pairs, K answers, L layers, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import ClassVar

from fusionscope.errors import InputError
from fusionscope.lens import Lens
from fusionscope.lvlm import LVLM, undisturbed
from fusionscope.probe.designs.base import PairDesign, Sampling, chosen_pairs
from fusionscope.probe.designs.classifier import cross_fit
from fusionscope.probe.designs.features import image_features, text_features
from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.engine.pairs import run_pairs
from fusionscope.probe.engine.placement import on_device
from fusionscope.probe.engine.scoring import to_posteriors
from fusionscope.probe.engine.session import prepare
from fusionscope.probe.posteriors import PairPosteriors
from fusionscope.tasks import HeldOutTask


@dataclass(frozen=True, kw_only=True)
class Learned(PairDesign):
    """p(y | image, question) of natural pairs, and cross-fitted p(y | image) and p(y | question).

    Folds keep the pairs of one image together.

    Args:
        folds: Folds of the cross-fitting, at least 2.

    Raises:
        InputError: Fewer folds.
    """

    name: ClassVar[str] = "learned"
    has_features: ClassVar[bool] = True
    folds: int = 5

    def __post_init__(self) -> None:
        if isinstance(self.folds, bool) or not isinstance(self.folds, int) or self.folds < 2:
            raise InputError(f"folds={self.folds!r}", "a classifier must not see what it predicts", "use 2 or more")

    @property
    def sentence(self) -> str:
        return (
            "p(y|image) and p(y|question) were predicted, for natural pairs, by classifiers of frozen features, "
            f"cross-fitted over {self.folds} folds (learned design)."
        )

    def posteriors(
        self, lvlm: LVLM, task: HeldOutTask, layers: Sequence[int], lens: Lens, spec: Sampling, execution: Execution
    ) -> PairPosteriors:
        """Run the natural pairs and fit both classifiers.

        Raises:
            InputError: All pairs are of one image.
        """
        start = perf_counter()
        with undisturbed(lvlm.model):
            title = f"{task.name} ({self.name})"
            rows, images, passes = prepare(lvlm, task, layers, lens, spec.scoring, execution, title)
            pairs, answers = chosen_pairs(task, spec)
            score, logprob = rows.fold(run_pairs(passes, images, rows, pairs).flatten(1, 2))
            of_images, of_questions = image_features(images), text_features(lvlm, rows)
        joint, mass = to_posteriors(score, logprob, spec.fallback)
        fit = partial(cross_fit, folds=self.folds, seed=spec.seed)
        vision, language = (
            on_device(
                lvlm.adapter.device, "fit classifiers to features", fit, features, pairs[:, column], joint, pairs[:, 0]
            ).cpu()
            for column, features in ((0, of_images), (1, of_questions))
        )
        return PairPosteriors(
            task=task.name,
            design=self.name,
            layers=tuple(layers),
            n_layers=lvlm.n_layers,
            mass=mass,
            joint=joint,
            vision=vision,
            language=language,
            pairs=pairs,
            pair_answers=answers,
            features_vision=of_images[pairs[:, 0]],
            features_language=of_questions[pairs[:, 1]],
            seconds=perf_counter() - start,
            tokens=passes.tokens[0],
            batch_rows=passes.budget.rows,
            details={"folds": float(self.folds)},
        )
