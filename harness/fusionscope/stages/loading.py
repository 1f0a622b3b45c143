"""From a name to a model that can be trained."""

import torch

from fusionscope.errors import ConfigError
from fusionscope.lvlm import LVLM

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(name: str, *, dtype: str, attention: str) -> LVLM:
    """Load a model and its processor.

    Args:
        name: Hugging Face directory or hub name.
        dtype: Dtype of its weights.
        attention: Attention implementation of transformers.

    Raises:
        ConfigError: An unknown dtype, or a name that cannot be loaded.
    """
    if dtype not in _DTYPES:
        raise ConfigError(f"dtype={dtype!r}", f"it is one of {', '.join(_DTYPES)}", "use one of these")
    try:
        return LVLM.from_pretrained(name, dtype=_DTYPES[dtype], attn_implementation=attention)
    except OSError as error:
        raise ConfigError(
            f"model={name!r} cannot be loaded",
            str(error).splitlines()[0],
            "give a directory written by save_pretrained (or by fusionscope export), or a name on the model hub",
        ) from error
