"""From a name to a model that can be trained."""

from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from fusionscope.errors import ConfigError, MissingDependencyError
from fusionscope.lvlm import LVLM, family_of_checkpoint
from fusionscope.stages.config import QuantizationSettings
from fusionscope.stages.files import check_whole

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(name: str, *, dtype: str, attention: str, quantization: QuantizationSettings | None = None) -> LVLM:
    """Load a model and its processor.

    Args:
        name: Hugging Face directory or hub name.
        dtype: Dtype of its weights.
        attention: Attention implementation of transformers.
        quantization: Store the language model's weights in fewer bits.

    Raises:
        ConfigError: An unknown dtype, or a name that cannot be loaded.
        DataError: An export of a stage that is torn or changed.
        MissingDependencyError: Quantization without bitsandbytes.
    """
    if dtype not in _DTYPES:
        raise ConfigError(f"dtype={dtype!r}", f"it is one of {', '.join(_DTYPES)}", "use one of these")
    check_whole(name)
    try:
        settings: dict[str, Any] = {} if quantization is None else {"quantization": _bits(name, quantization, dtype)}
        return LVLM.from_pretrained(name, dtype=_DTYPES[dtype], attn_implementation=attention, **settings)
    except OSError as error:
        raise ConfigError(
            f"model={name!r} cannot be loaded",
            str(error).splitlines()[0],
            "give a directory written by save_pretrained (or by fusionscope export), or a name on the model hub",
        ) from error


def _bits(name: str, settings: QuantizationSettings, dtype: str) -> BitsAndBytesConfig:
    if find_spec("bitsandbytes") is None:
        raise MissingDependencyError(
            f"quantization.bits={settings.bits}", "bitsandbytes is not installed", "pip install 'fusionscope[qlora]'"
        )
    parts = family_of_checkpoint(name).parts
    keep = [*parts.vision_tower, *parts.projector, "lm_head"]
    return BitsAndBytesConfig(
        load_in_4bit=settings.bits == 4,
        load_in_8bit=settings.bits == 8,
        llm_int8_skip_modules=keep,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=settings.double,
        bnb_4bit_compute_dtype=_DTYPES[dtype],
    )
