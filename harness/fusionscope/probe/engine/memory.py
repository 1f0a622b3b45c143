"""How much memory a pass takes above the weights, and how many sequences fit.

The bound, in bytes, for rows of T positions of which S are new, b bytes per number, L decoder layers of width D and
feed-forward width F, H_kv key-value heads of size d of H heads:

    row = b [2 L H_kv d T          keys and values of the row
             + 8 H_kv d T          one layer's, once more while they are extended and repeated over heads
             + S (8 D + 4 F)       one layer's activations
             + 2 H S T             attention weights where the kernel keeps them, and their mask
             + l D]                hidden states kept, for l probed layers

The head adds at most `HEAD_ELEMENTS` logits in three copies of four bytes, whatever the number of rows.
"""

from collections.abc import Sequence
from typing import Any

import torch

from fusionscope.lvlm import LVLM, module_dtype
from fusionscope.parallel import all_gather, is_sharded

HEAD_ELEMENTS = 2**24
CPU_TOKENS = 8192
"""Tokens in flight on a CPU: more only leaves its caches."""
SHARE_OF_FREE = 0.5
_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "ALLOC_FAILED",
    "calling `cublasCreate",
    "calling `cusolverDnCreate",
)
"""What PyTorch's allocators and CUDA's libraries say, whose handles and workspaces are not PyTorch's."""


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error means too little memory.

    >>> out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    True
    >>> out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    False
    """
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY)


def row_bytes(lvlm: LVLM, total: int, new: int, n_layers: int) -> int:
    """The bound above for one row.

    Args:
        lvlm: The model.
        total: T, positions of the row, the cached prefix included.
        new: S, positions that the pass computes.
        n_layers: l, probed layers.
    """
    config: Any = lvlm.adapter.text_config
    width, heads = int(config.hidden_size), int(config.num_attention_heads)
    kv = int(getattr(config, "num_key_value_heads", None) or heads)
    size = int(getattr(config, "head_dim", None) or width // heads)
    inner = int(getattr(config, "intermediate_size", 4 * width))
    numbers = (
        2 * lvlm.n_layers * kv * size * total
        + 8 * heads * size * total
        + new * (8 * width + 4 * inner)
        + 2 * heads * new * total
        + n_layers * width
    )
    return numbers * max(torch.finfo(module_dtype(lvlm.adapter.embedding)).bits // 8, 2)


def automatic_rows(lvlm: LVLM, longest: int, layers: Sequence[int]) -> int:
    """Sequences of up to ``longest`` positions that a pass may hold: half of the free memory of an accelerator."""
    device = lvlm.adapter.device
    if device.type != "cuda":
        return max(1, CPU_TOKENS // longest)
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    rows = max(1, int(SHARE_OF_FREE * (free + unused)) // row_bytes(lvlm, longest, longest, len(layers)))
    # Ranks that run different numbers of passes would wait for each other for ever.
    return min(all_gather(rows)) if is_sharded(lvlm.model) else rows
