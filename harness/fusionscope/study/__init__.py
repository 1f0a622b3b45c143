"""After training: the onset of fusion, figures, the report of a run."""

from fusionscope.study.onset import Onset, onset
from fusionscope.study.report import report, synergy_onsets

__all__ = ["Onset", "onset", "report", "synergy_onsets"]
