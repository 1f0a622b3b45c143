"""Probing checkpoints after training: what there is to probe, loading it, and measuring what has no records yet."""

from fusionscope.study.sweep.checkpoints import Checkpoint, callback_settings, find_checkpoints, one_checkpoint
from fusionscope.study.sweep.models import Models, default_device
from fusionscope.study.sweep.run import merge, sweep

__all__ = [
    "Checkpoint",
    "Models",
    "callback_settings",
    "default_device",
    "find_checkpoints",
    "merge",
    "one_checkpoint",
    "sweep",
]
