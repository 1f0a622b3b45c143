"""Random-weight miniatures of every family, built offline: for tests, benchmarks and trying an adapter.

They have the architecture of the real models and nothing else: widths of a few dozen, a byte-level tokenizer, no
knowledge. Where a family ignores the image at initialisation (zero gates, queries or projections), those weights are
drawn too.
"""

from typing import Any

import torch
from torch import nn

from fusionscope.errors import UnknownNameError
from fusionscope.lvlm.tiny.families import BUILDERS
from fusionscope.lvlm.tiny.words import tokenizer

__all__ = ["build", "names", "tokenizer"]


def names() -> tuple[str, ...]:
    """Model types that `build` knows."""
    return tuple(sorted(BUILDERS))


def build(model_type: str, seed: int = 0) -> tuple[nn.Module, Any]:
    """A tiny model and its processor; the caller's random state is left as found.

    Args:
        model_type: One of `names`.
        seed: Seed of the weights.

    Raises:
        UnknownNameError: No miniature of this type.
    """
    if model_type not in BUILDERS:
        raise UnknownNameError(f"miniature {model_type!r}", f"there are {', '.join(names())}", "use one of them")
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        model, processor = BUILDERS[model_type]()
        return model.eval(), processor
