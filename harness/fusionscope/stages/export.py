"""From a stage to a Hugging Face directory: the whole model, adapters merged, and the processor it was trained with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fusionscope.parallel import barrier, gathered, is_main
from fusionscope.stages.checkpoint import keep, trained_keys
from fusionscope.stages.lora import merged

if TYPE_CHECKING:
    from fusionscope.stages.base import VLMStage


def export(stage: VLMStage, directory: str | os.PathLike[str]) -> Path:
    """Write a stage's model and processor; every process must call it, the first one writes.

    A quantized stage is put on its base model as it was before quantization, and that is written.

    Args:
        stage: A stage whose model is built.
        directory: Where; created where missing.

    Returns:
        The directory, which ``from_pretrained`` of transformers loads.
    """
    path = Path(directory)
    if stage.quantization is None:
        _write(stage, path)
    elif is_main():
        _write(unquantized(stage), path)
    barrier()
    return path


def unquantized(stage: VLMStage) -> VLMStage:
    """A stage of the same class and settings with the trained weights, on the base model as it was.

    Args:
        stage: A stage whose language model is held in few bits.
    """
    whole = type(stage)(**stage.settings())
    whole.quantization = None
    whole.base = stage.base
    whole.configure_model()
    whole.load_state_dict(keep(stage.state_dict(), trained_keys(stage)))
    return whole


def _write(stage: VLMStage, path: Path) -> None:
    writes = is_main()
    if not writes and stage.device_mesh is None:  # shards are of use to the first process only together
        return
    state = gathered(merged(stage.network), keep=writes)
    if writes:
        stage.network.save_pretrained(path, state_dict=state)  # type: ignore[operator]  # transformers' own method
        stage.lvlm.processor.save_pretrained(path)
