"""The page, the figures and the tables of a run."""

from fusionscope.records.tables import synergy_onsets
from fusionscope.study.report.write import report

__all__ = ["report", "synergy_onsets"]
