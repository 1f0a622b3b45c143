"""Training data."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusionscope.data.collate import Collator
    from fusionscope.data.llava import LlavaJson
    from fusionscope.data.module import LlavaDataModule
    from fusionscope.data.stream import LlavaStream

__all__ = [
    "Collator",
    "LlavaDataModule",
    "LlavaJson",
    "LlavaStream",
]

_LAZY = {"Collator": "collate", "LlavaDataModule": "module", "LlavaJson": "llava", "LlavaStream": "stream"}


def __getattr__(name: str) -> Any:
    """Names are loaded on first use: importing the room costs nothing."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
