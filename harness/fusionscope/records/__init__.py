"""Records of probes, the run that they belong to, and how both are drawn."""

from fusionscope.records.attempts import Attempt, AttemptHistory
from fusionscope.records.directory import RunDirectory, StageDirectory
from fusionscope.records.file import RecordFile, read_records
from fusionscope.records.resuming import Origin, Place, Start, join
from fusionscope.records.run import Run, Stage
from fusionscope.records.schema import ATOMS, Record

__all__ = [
    "ATOMS",
    "Attempt",
    "AttemptHistory",
    "Origin",
    "Place",
    "Record",
    "RecordFile",
    "Run",
    "RunDirectory",
    "Stage",
    "StageDirectory",
    "Start",
    "join",
    "read_records",
]
