"""What natural pairs, a few questions of every image, tell of a decomposition: intervals, not points."""

from fusionscope.pid.identified.intervals import identified_pid
from fusionscope.pid.identified.result import QUANTITIES, IdentifiedPID

__all__ = ["QUANTITIES", "IdentifiedPID", "identified_pid"]
