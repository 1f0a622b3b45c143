"""What an estimator is: its own options, one sentence about itself, the samples it takes, and `decompose`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from fusionscope.errors import ConfigError
from fusionscope.pid.estimators.sample import GridSample, PairSample, RowSample, Sample
from fusionscope.pid.result import PIDResult

SampleT = TypeVar("SampleT", bound=Sample, contravariant=True)
_SAMPLES = {GridSample: "a crossed grid", PairSample: "pairs", RowSample: "rows of natural pairs"}


@dataclass(frozen=True, kw_only=True)
class Estimator(ABC, Generic[SampleT]):
    """A way from posteriors to atoms. A subclass is a frozen, keyword-only dataclass of its options, all plain data.

    Attributes:
        name: Under which it is registered (entry points of the group ``fusionscope.estimators``) and recorded.
        takes: The kinds of samples that it decomposes.
        needs_features: Whether it reads the features of a `PairSample`, which not every design has.
        gives_standard_errors: Whether it has standard errors to give.
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[type[Sample], ...]]
    needs_features: ClassVar[bool] = False
    gives_standard_errors: ClassVar[bool] = False

    @property
    @abstractmethod
    def sentence(self) -> str:
        """What it does and whose method it is, for the methods paragraph of a report; ends with a full stop."""

    @abstractmethod
    def decompose(self, sample: SampleT, *, standard_errors: bool = False) -> PIDResult:
        """The atoms of every layer of a sample, in bits.

        Args:
            sample: One of the kinds in ``takes``.
            standard_errors: Whether to add standard errors, and the diagnostics that
                :func:`fusionscope.pid.confidence_intervals` reads; an estimator without any leaves them empty.

        Raises:
            ConfigError: Another kind of sample, or one without the features that it needs.
            InputError: A sample that is not what it should be.
        """

    def check_usable(self, kind: type[Sample], *, features: bool = False) -> None:
        """Checks, before anything is computed, that samples of a design can be decomposed.

        Args:
            kind: The kind of sample that there will be.
            features: Whether it will have features.

        Raises:
            ConfigError: It takes other samples, or needs features.
        """
        if kind not in self.takes:
            raise ConfigError(
                f"estimator {self.name!r} on {_SAMPLES[kind]}",
                f"it decomposes {' and '.join(_SAMPLES[taken] for taken in self.takes)}",
                "use estimator='exact', which takes both, or a design that gives what this one takes",
            )
        if self.needs_features and not features:
            raise ConfigError(
                f"estimator {self.name!r} on samples without features",
                "it trains networks on features of the images and of the questions",
                "pass features_vision and features_language, use a design that has them, or estimator='exact'",
            )

    def check_sample(self, sample: Sample) -> None:
        """As :meth:`check_usable`, of a sample that there is."""
        self.check_usable(type(sample), features=sample.has_features)
