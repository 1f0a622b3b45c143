"""Held-out tasks and training data."""

from typing import TYPE_CHECKING, Any

from fusionscope.data.registry import known_tasks, load_task
from fusionscope.data.task import HeldOutTask, Question, uniform_weights

if TYPE_CHECKING:
    from fusionscope.data.collate import Collator
    from fusionscope.data.llava import LlavaJson
    from fusionscope.data.module import LlavaDataModule
    from fusionscope.data.stream import LlavaStream

__all__ = [
    "Collator",
    "HeldOutTask",
    "LlavaDataModule",
    "LlavaJson",
    "LlavaStream",
    "Question",
    "known_tasks",
    "load_task",
    "uniform_weights",
]

_LAZY = {"Collator": "collate", "LlavaDataModule": "module", "LlavaJson": "llava", "LlavaStream": "stream"}


def __getattr__(name: str) -> Any:
    """Training data on first use: held-out tasks alone need neither transformers nor lightning."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
