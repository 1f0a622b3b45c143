"""The page, the figures and the tables of a run."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusionscope.study.report.build import report
    from fusionscope.study.report.tables import synergy_onsets

__all__ = ["report", "synergy_onsets"]

_HOMES = {"report": "build", "synergy_onsets": "tables"}


def __getattr__(name: str) -> Any:
    """Names are loaded on first use: a comparison's tables need no page."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
