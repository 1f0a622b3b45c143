"""Estimators of the decomposition: what they have in common, and a register of them by name."""

from fusionscope.pid.estimators._pairs import UNSOLVED
from fusionscope.pid.estimators.base import Estimator
from fusionscope.pid.estimators.register import get_estimator, known_estimators
from fusionscope.pid.estimators.sample import GridSample, PairSample, RowSample, Sample

__all__ = [
    "UNSOLVED",
    "Estimator",
    "GridSample",
    "PairSample",
    "RowSample",
    "Sample",
    "get_estimator",
    "known_estimators",
]
