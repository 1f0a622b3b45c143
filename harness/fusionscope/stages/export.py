"""From a stage to a Hugging Face directory: the whole model, adapters merged, and the processor it was trained with."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from fusionscope.parallel import barrier, gathered, is_main
from fusionscope.records.digests import FILE as DIGESTS
from fusionscope.records.digests import note_directory
from fusionscope.stages.checkpoint import keep, trained_keys
from fusionscope.stages.files import unwritable
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
    # Every rank builds the unquantized model: the check of its base model's files is a collective.
    _write(stage if stage.quantization is None else unquantized(stage), path)
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
    """Write beside the directory, and give it its name when it is whole."""
    writes = is_main()
    if not writes and stage.device_mesh is None:  # shards are of use to the first process only together
        return
    state = gathered(merged(stage.network), keep=writes)
    if not writes:
        return
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        stage.network.save_pretrained(part, state_dict=state)  # type: ignore[operator]  # transformers' own method
        stage.lvlm.processor.save_pretrained(part)
        note_directory(part)
        _move(part, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move(part: Path, path: Path) -> None:
    """Rename a directory, or its files one by one where there is a directory of its name; the digests come last."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part.rename(path)
        return
    for file in sorted(part.iterdir(), key=lambda file: file.name == DIGESTS):
        file.replace(path / file.name)
