"""The paper's design as it was (arXiv 2603.29676, section 3, and its released scripts), to reproduce its numbers.

One draw of noise per sample, calibrated on the training part of the samples, stands for the image's tokens or for the
question's own tokens; where the options hold less than 0.3 of the mass a distribution is replaced by the uniform one.
With ``estimator="batch"`` it is the whole pipeline. One draw counts its own noise as information: the numbers are for
comparison with the paper's.
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
from fusionscope.probe.designs.base import PairDesign, Sampling, chosen_pairs
from fusionscope.probe.designs.masked import Masked, MaskedRun, masked_posteriors
from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.engine.session import prepare
from fusionscope.probe.posteriors import FALLBACK_MASS, PairPosteriors
from fusionscope.tasks import HeldOutTask


@dataclass(frozen=True, kw_only=True)
class Paper(PairDesign):
    """One draw of calibrated noise per sample, statistics of the training part, fallback to the uniform distribution.

    Args:
        train_fraction: Fraction of the pairs, drawn by the seed, whose tokens the noise has the statistics of; the
            paper splits 3 : 1.
        noise_scale: Multiplies the noise's standard deviation.
        fallback: Mass of the options under which a distribution is replaced by the uniform one.

    Raises:
        InputError: A number outside its range.
    """

    name: ClassVar[str] = "paper"
    has_features: ClassVar[bool] = True
    train_fraction: float = 0.75
    noise_scale: float = 1.0
    fallback: float = FALLBACK_MASS

    def __post_init__(self) -> None:
        for name, value in (("train_fraction", self.train_fraction), ("fallback", self.fallback)):
            if not isinstance(value, int | float) or not 0 < value <= 1:
                raise InputError(f"{name}={value!r}", "it is a fraction", "use a number above 0 and at most 1")
        if not isinstance(self.noise_scale, int | float) or not self.noise_scale >= 0:
            raise InputError(f"noise_scale={self.noise_scale!r}", "it multiplies a standard deviation", "use 0 or more")

    @property
    def sentence(self) -> str:
        return (
            "p(y|image) and p(y|question) come from passes in which the other modality was replaced by one draw of "
            "normal embeddings with the statistics of the training part, as in Xiu et al. (paper design); "
            f"distributions whose options held less than {self.fallback:g} were replaced by the uniform one."
        )

    def posteriors(
        self, lvlm: LVLM, task: HeldOutTask, layers: Sequence[int], lens: Lens, spec: Sampling, execution: Execution
    ) -> PairPosteriors:
        """Run the natural pairs whole and with either modality replaced by noise.

        Raises:
            InputError: A specification with another fallback.
        """
        if spec.fallback not in (None, self.fallback):
            raise InputError(
                f"fallback={spec.fallback} with design 'paper', whose own is {self.fallback}",
                "a distribution is replaced by one rule",
                "leave fallback out, or set design_options: {fallback: ...}",
            )
        start = perf_counter()
        with undisturbed(lvlm.model):
            title = f"{task.name} ({self.name})"
            rows, images, passes = prepare(lvlm, task, layers, lens, spec.scoring, execution, title)
            pairs, answers = chosen_pairs(task, spec)
            job = MaskedRun(
                design=Masked(mask="noise", draws=1, noise_scale=self.noise_scale),
                lvlm=lvlm,
                task=task,
                spec=spec,
                execution=execution,
                passes=passes,
                rows=rows,
                images=images,
                pairs=pairs,
                statistics=self._train_part(pairs, spec.seed),
                fallback=self.fallback,
            )
            return masked_posteriors(job, self.name, layers, answers, start)

    def _train_part(self, pairs: Tensor, seed: int) -> Tensor:
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))
        return pairs[order[: max(1, int(self.train_fraction * len(pairs)))]]
