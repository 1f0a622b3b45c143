"""After training: the onset of fusion, figures, the report of a run."""

from fusionscope.study.onset import Onset, Phase, depth_onset, onset, phases
from fusionscope.study.report import report
from fusionscope.study.tables import synergy_onsets

__all__ = ["Onset", "Phase", "depth_onset", "onset", "phases", "report", "synergy_onsets"]
