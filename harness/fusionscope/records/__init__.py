"""Records of probes, the journey of a run, and how both are drawn."""

from fusionscope.records.file import RecordFile
from fusionscope.records.journey import Journey, Stage
from fusionscope.records.schema import ATOMS, Record

__all__ = ["ATOMS", "Journey", "Record", "RecordFile", "Stage"]
