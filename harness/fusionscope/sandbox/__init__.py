"""The sandbox: a tiny LLaVA in a rendered world whose true partial information decomposition is known."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusionscope.sandbox.data import Captions, Instructions
    from fusionscope.sandbox.model import build_model, build_processor, write
    from fusionscope.sandbox.oracle import model_pid, world_pid
    from fusionscope.sandbox.scratch import ScratchAlignment
    from fusionscope.sandbox.stage0 import UnimodalPretraining
    from fusionscope.sandbox.tasks import load
    from fusionscope.sandbox.texts import UnimodalData

_LAZY = {
    "Captions": "data",
    "Instructions": "data",
    "ScratchAlignment": "scratch",
    "UnimodalData": "texts",
    "UnimodalPretraining": "stage0",
    "build_model": "model",
    "build_processor": "model",
    "load": "tasks",
    "model_pid": "oracle",
    "world_pid": "oracle",
    "write": "model",
}

__all__ = [
    "Captions",
    "Instructions",
    "ScratchAlignment",
    "UnimodalData",
    "UnimodalPretraining",
    "build_model",
    "build_processor",
    "load",
    "model_pid",
    "world_pid",
    "write",
]


def __getattr__(name: str) -> Any:
    """Names on first use: held-out tasks need neither transformers nor lightning."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
