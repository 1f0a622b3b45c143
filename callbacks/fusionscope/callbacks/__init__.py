"""Callbacks of trainers: when to probe and where to log.

Importing this is cheap: Lightning is loaded with the callbacks of Lightning's trainer, and not with those of
transformers'.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionscope.callbacks.schedule import Schedule

if TYPE_CHECKING:
    from fusionscope.callbacks.checkpoint import ScheduledCheckpoint
    from fusionscope.callbacks.hf import PIDTrainerCallback
    from fusionscope.callbacks.pid import PIDCallback

__all__ = ["PIDCallback", "PIDTrainerCallback", "Schedule", "ScheduledCheckpoint"]

_HOMES = {"PIDCallback": "pid", "PIDTrainerCallback": "hf", "ScheduledCheckpoint": "checkpoint"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
