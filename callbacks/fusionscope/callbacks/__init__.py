"""Lightning callbacks: when to probe and where to log."""

from fusionscope.callbacks.checkpoint import ScheduledCheckpoint
from fusionscope.callbacks.pid import PIDCallback
from fusionscope.callbacks.schedule import Schedule

__all__ = ["PIDCallback", "Schedule", "ScheduledCheckpoint"]
