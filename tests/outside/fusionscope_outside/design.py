"""A design from outside: what a modality says is the mean answer over other ones in its partner's place.

Shapes: N pairs, K answers, L layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.lens import Lens
from fusionscope.lvlm import LVLM, undisturbed
from fusionscope.probe import PairPosteriors
from fusionscope.probe.designs import PairDesign, Sampling, chosen_pairs
from fusionscope.probe.engine import Execution, prepare, run_pairs, to_posteriors
from fusionscope.tasks import HeldOutTask

IMAGE, QUESTION = 0, 1


@dataclass(frozen=True, kw_only=True)
class Exchanged(PairDesign):
    """p(y | question) over other images of the task, p(y | image) over its other questions.

    Args:
        draws: Other images, and other questions, averaged per pair.

    Raises:
        InputError: Fewer than one draw.
    """

    name: ClassVar[str] = "exchanged"
    draws: int = 4

    def __post_init__(self) -> None:
        if isinstance(self.draws, bool) or not isinstance(self.draws, int) or self.draws < 1:
            raise InputError(f"draws={self.draws!r}", "a modality is exchanged for something", "use 1 or more")

    @property
    def sentence(self) -> str:
        return (
            "p(y|question) and p(y|image) are the mean answers of the model to a question with other images of the "
            f"task, and to an image with its other questions, over {self.draws} draws per pair (exchanged design)."
        )

    def posteriors(
        self, lvlm: LVLM, task: HeldOutTask, layers: Sequence[int], lens: Lens, spec: Sampling, execution: Execution
    ) -> PairPosteriors:
        """Run the natural pairs whole, with other images and with other questions."""
        start = perf_counter()
        pairs_N2, answers = chosen_pairs(task, spec)
        generator = torch.Generator().manual_seed(spec.seed)
        with undisturbed(lvlm.model):
            title = f"{task.name} ({self.name})"
            rows, images, passes = prepare(lvlm, task, layers, lens, spec.scoring, execution, title)

            def answer(pairs_N2: Tensor) -> tuple[Tensor, Tensor]:
                score, mass = rows.fold(run_pairs(passes, images, rows, pairs_N2).flatten(1, 2))
                return to_posteriors(score, mass, spec.fallback)

            joint, mass = answer(pairs_N2)
            language, vision = (
                torch.stack(
                    [answer(_exchanged(pairs_N2, column, n, generator))[0] for _ in range(self.draws)],
                ).mean(0)
                for column, n in ((IMAGE, len(task.images)), (QUESTION, len(task.questions)))
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
            pairs=pairs_N2,
            pair_answers=answers,
            seconds=perf_counter() - start,
            tokens=passes.tokens[0],
            batch_rows=passes.budget.rows,
            details={"draws": float(self.draws)},
        )


def _exchanged(pairs_N2: Tensor, column: int, n: int, generator: torch.Generator) -> Tensor:
    """Pairs whose image (column 0) or question (column 1) is another one, drawn uniformly."""
    steps = torch.randint(1, max(2, n), (len(pairs_N2),), generator=generator)
    changed = pairs_N2.clone()
    changed[:, column] = (changed[:, column] + steps) % n
    return changed
