"""Running a model: sequences, batches that fit, placement. What a design needs of it is named here."""

from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.engine.pairs import Exchange, run_pairs
from fusionscope.probe.engine.runner import Passes
from fusionscope.probe.engine.scoring import Rows, Scoring, to_posteriors
from fusionscope.probe.engine.session import features_of, prepare, rows_of

__all__ = [
    "Exchange",
    "Execution",
    "Passes",
    "Rows",
    "Scoring",
    "features_of",
    "prepare",
    "rows_of",
    "run_pairs",
    "to_posteriors",
]
