"""What a design is, and where designs are found by name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.lens import Lens
from fusionscope.lvlm import LVLM
from fusionscope.pid.estimators import PairSample, Sample
from fusionscope.plugins import Register
from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.posteriors import Posteriors
from fusionscope.tasks import HeldOutTask

if TYPE_CHECKING:
    from fusionscope.probe.engine.scoring import Scoring

DESIGNS = Register(group="fusionscope.designs", what="design")


class Sampling(Protocol):
    """What a design is given of the measurement besides its own options: fields of `fusionscope.probe.ProbeSpec`."""

    @property
    def scoring(self) -> "Scoring": ...
    @property
    def fallback(self) -> float | None: ...
    @property
    def max_pairs(self) -> int | None: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Design(ABC):
    """How p(answer | image) and p(answer | question) are obtained; a number never travels without its design.

    A design is a frozen, keyword-only dataclass of its own options, each with a default. It is registered, as a class,
    as an entry point of the group ``fusionscope.designs``.
    """

    name: ClassVar[str]
    """Its name in specifications and records."""
    sample: ClassVar[type[Sample]]
    """What its posteriors give an estimator."""
    has_features: ClassVar[bool] = False
    """Whether its posteriors hold features of images and questions, which some estimators need."""
    default_law: ClassVar[str]
    """The law of questions that its variants do not spell out."""

    @property
    @abstractmethod
    def sentence(self) -> str:
        """What a methods paragraph says of it."""

    @abstractmethod
    def check(self, task: HeldOutTask) -> None:
        """Refuse a task that cannot be probed in this design.

        Raises:
            InputError: It cannot.
        """

    @abstractmethod
    def laws(self, task: HeldOutTask, wanted: str | Sequence[str]) -> tuple[str, ...]:
        """The laws of questions that a task is decomposed under.

        Args:
            task: The task.
            wanted: Names, or ``"all"``.

        Raises:
            UnknownNameError: The task does not have one of them.
        """

    @abstractmethod
    def sample_size(self, task: HeldOutTask, spec: Sampling) -> tuple[int, int]:
        """How many images and questions are run when every image can be read."""

    @abstractmethod
    def posteriors(
        self, lvlm: LVLM, task: HeldOutTask, layers: Sequence[int], lens: Lens, spec: Sampling, execution: Execution
    ) -> Posteriors:
        """Run the model.

        Args:
            lvlm: The model; it is left as found.
            task: The task.
            layers: Layer numbers.
            lens: Hidden states to logits.
            spec: Scoring, fallback, limits and seed.
            execution: How to run.
        """


@dataclass(frozen=True, kw_only=True)
class PairDesign(Design):
    """Base of designs over natural pairs: each pair counts once, under the law ``"natural"``."""

    sample: ClassVar[type[Sample]] = PairSample
    default_law: ClassVar[str] = "natural"

    def check(self, task: HeldOutTask) -> None:
        if not len(task.pairs):
            raise InputError(
                f"design {self.name!r} for task {task.name!r}",
                "it runs natural pairs, and the task has none",
                "use design 'crossed', or give the task pairs",
            )

    def laws(self, task: HeldOutTask, wanted: str | Sequence[str]) -> tuple[str, ...]:
        if wanted != "all" and set(wanted) != {self.default_law}:
            raise UnknownNameError(
                f"law {', '.join(map(repr, wanted))} for task {task.name!r} in design {self.name!r}",
                f"pairs count as they occur, under the law {self.default_law!r}",
                "use laws='all', or a design that runs the whole grid",
            )
        return (self.default_law,)

    def sample_size(self, task: HeldOutTask, spec: Sampling) -> tuple[int, int]:
        pairs, _ = chosen_pairs(task, spec)
        images, questions = (len(column.unique()) for column in pairs.T)
        return images, questions


def get_design(name: str, options: Mapping[str, Any] | None = None) -> Design:
    """A design by name, with its options.

    Raises:
        UnknownNameError: No such design, or an option's value that it does not know.
        ConfigError: An option that it does not take.
        InputError: An option outside its range.
    """
    design: Design = DESIGNS.make(name, options or {})
    return design


def known_designs() -> tuple[str, ...]:
    """Names of designs."""
    return DESIGNS.names()


def chosen_pairs(task: HeldOutTask, spec: Sampling) -> tuple[Tensor, Tensor]:
    """The natural pairs that a design runs, int64 [N, 2], and their right answers, int64 [N]."""
    n = len(task.pairs)
    if spec.max_pairs is None or n <= spec.max_pairs:
        return task.pairs, task.pair_answers
    generator = torch.Generator().manual_seed(spec.seed)
    order = torch.randperm(n, generator=generator)[: spec.max_pairs].sort().values
    return task.pairs[order], task.pair_answers[order]
