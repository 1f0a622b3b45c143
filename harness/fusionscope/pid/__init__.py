"""Partial information decomposition: exact, certified and batched, with neural and Gaussian estimators beside it.

Everything is in bits at this edge. Names are loaded on first use (PEP 562), so that importing the room costs
nothing beyond torch.

Reference:
    Bertschinger, Rauh, Olbrich, Jost, Ay (2014), Quantifying unique information, Entropy 16.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusionscope.pid import gates, measures
    from fusionscope.pid.crossed import pid_crossed
    from fusionscope.pid.estimators.batch import BatchEstimator
    from fusionscope.pid.estimators.gaussian import GaussianPID
    from fusionscope.pid.joint import pid_from_joint
    from fusionscope.pid.local import local_contributions
    from fusionscope.pid.metric import PartialInformationDecomposition
    from fusionscope.pid.posteriors import pid_from_posteriors
    from fusionscope.pid.result import PIDResult
    from fusionscope.pid.uncertainty.intervals import confidence_intervals
    from fusionscope.pid.uncertainty.resampling import (
        bootstrap_crossed,
        bootstrap_posteriors,
        permutation_null,
        subsampling_interval,
    )

_HOMES = {
    "BatchEstimator": "estimators.batch",
    "GaussianPID": "estimators.gaussian",
    "PartialInformationDecomposition": "metric",
    "PIDResult": "result",
    "bootstrap_crossed": "uncertainty.resampling",
    "bootstrap_posteriors": "uncertainty.resampling",
    "confidence_intervals": "uncertainty.intervals",
    "local_contributions": "local",
    "permutation_null": "uncertainty.resampling",
    "pid_crossed": "crossed",
    "pid_from_joint": "joint",
    "pid_from_posteriors": "posteriors",
    "subsampling_interval": "uncertainty.resampling",
}

__all__ = [
    "BatchEstimator",
    "GaussianPID",
    "PIDResult",
    "PartialInformationDecomposition",
    "bootstrap_crossed",
    "bootstrap_posteriors",
    "confidence_intervals",
    "gates",
    "local_contributions",
    "measures",
    "permutation_null",
    "pid_crossed",
    "pid_from_joint",
    "pid_from_posteriors",
    "subsampling_interval",
]


def __getattr__(name: str) -> Any:
    if name in ("gates", "measures"):
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
