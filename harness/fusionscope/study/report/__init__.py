"""The page, the figures and the tables of a run."""

from fusionscope.study.report.build import report
from fusionscope.study.report.tables import synergy_onsets

__all__ = ["report", "synergy_onsets"]
