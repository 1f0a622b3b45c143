"""From a checkpoint back to its stage: the class and the constructor's settings are in the checkpoint."""

import os
from typing import Any

from fusionscope.errors import DataError
from fusionscope.stages.base import VLMStage
from fusionscope.stages.checkpoint import FORMAT, KEY
from fusionscope.stages.settings import built, decode
from fusionscope.trust import trusted_class


def rebuild(
    saved: dict[str, Any], *, file: str, base: str | os.PathLike[str] | None = None, trust: bool = False
) -> VLMStage:
    """The stage that saved a checkpoint, its model not built and its weights not loaded.

    It is whole, not quantized, so that its model can be probed and exported in the precision of its base.

    Args:
        saved: The checkpoint, as `fusionscope.stages.checkpoint.read` gives it.
        file: Its path, for messages.
        base: Where the base model is now, if not where the checkpoint says.
        trust: Import the stage's class from wherever it is; see `fusionscope.trust`.

    Raises:
        DataError: A checkpoint that no stage of this version saved, or a class that is not trusted or is gone.
    """
    about = saved.get(KEY)
    if about is None or about.get("format") != FORMAT:
        raise DataError(
            f"{file} was not saved by a fusionscope stage" + ("" if about is None else " of this version"),
            f"it must say, in format {FORMAT}, which stage and base model its weights belong to",
            "give a Hugging Face directory, or a checkpoint that a stage has saved",
        )
    cls = trusted_class(about["stage"], file=file, kind=VLMStage, trust=trust)
    stage: VLMStage = built(cls, decode(about["settings"], file, trust=trust), file)
    stage.quantization = None
    if base is not None:
        stage.base = os.fspath(base)
    return stage
