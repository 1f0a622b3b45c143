"""Models beside each other on every task: a profile, what follows from it, its tables and its page."""

from fusionscope.study.comparison.profile import Model, Profile, read_profile, rows_of
from fusionscope.study.comparison.statistics import Correlation, Delta, Row, correlations, scaling, spearman
from fusionscope.study.comparison.tables import comparisons, write_tables
from fusionscope.study.comparison.verdicts import Verdict, family_strategies, regime, task_regimes
from fusionscope.study.comparison.write import report

__all__ = [
    "Correlation",
    "Delta",
    "Model",
    "Profile",
    "Row",
    "Verdict",
    "comparisons",
    "correlations",
    "family_strategies",
    "read_profile",
    "regime",
    "report",
    "rows_of",
    "scaling",
    "spearman",
    "task_regimes",
    "write_tables",
]
