"""The logit lens: the model's own final norm and head applied to an earlier layer.

Shapes: D width, V vocabulary, K options.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Lens(Protocol):
    """Hidden states [..., D] of a layer to logits [..., V]."""

    @property
    def name(self) -> str:
        """What tells it from other lenses: records of measurements through different lenses must not share a key."""

    def __call__(self, hidden: Tensor, layer: int) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class LogitLens:
    """Reads every layer as the model reads its last: norm once, then head.

    At the last layer this is the model itself: the hidden state is the one before the final norm, and ``head``
    carries what the model does after it (soft-capping of logits, say).

    Args:
        norm: The final norm.
        head: Normed hidden states to logits.

    Reference:
        nostalgebraist, "interpreting GPT: the logit lens" (2020).

    Example:
        >>> lens = LogitLens(norm=lambda h: h / h.norm(dim=-1, keepdim=True), head=lambda h: 2 * h)
        >>> lens(torch.tensor([3.0, 4.0]), layer=1)
        tensor([1.2000, 1.6000])
    """

    norm: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor]

    @property
    def name(self) -> str:
        return "logit"

    def __call__(self, hidden: Tensor, layer: int) -> Tensor:
        return self.head(self.norm(hidden))


def option_logits(logits: Tensor, options: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the options and the log of the whole vocabulary's exponential sum.

    Args:
        logits: [..., V] of any floating dtype.
        options: int64 [..., K], ids of the options.

    Returns:
        float32 (or float64 for float64 logits) [..., K] and [...]: the probability mass of the options is
        ``(chosen - total[..., None]).exp().sum(-1)``.

    Example:
        >>> chosen, total = option_logits(torch.zeros(4), torch.tensor([1, 2]))
        >>> (chosen - total).exp().sum().item()
        0.5
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide.gather(-1, options.to(wide.device)), wide.logsumexp(-1)
