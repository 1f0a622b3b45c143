"""What a rank adds up between two optimizer steps: its losses, its tokens, and the time that they took."""

import time
from dataclasses import dataclass

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from fusionscope.parallel import total


@dataclass(frozen=True, kw_only=True)
class StepSums:
    """An accumulated batch over all ranks.

    Args:
        loss: Sum of the token losses, nats.
        tokens: Supervised tokens.
        all_tokens: Tokens without padding, supervised or not.
        seconds: Time of this rank's micro-batches.
    """

    loss: float
    tokens: float
    all_tokens: float
    seconds: float

    @property
    def mean(self) -> float:
        """Loss per supervised token, nats; the sum where there is none."""
        return self.loss / self.tokens if self.tokens else self.loss


class StepMeter:
    """Adds up micro-batches, and the time between `start` and the last `stop`."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None
        self._seconds = 0.0
        self._since = 0.0

    def start(self) -> None:
        """Start the clock of a micro-batch."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Add the time since the clock was started or stopped."""
        now = time.perf_counter()
        self._seconds += now - self._since
        self._since = now

    def add(self, loss: Tensor, tokens: Tensor, all_tokens: Tensor) -> None:
        """Add a micro-batch.

        Args:
            loss: Sum of its token losses, a float32 scalar.
            tokens: Its supervised tokens, a float32 scalar.
            all_tokens: Its tokens without padding, a float32 scalar.
        """
        sums = torch.stack((loss.detach(), tokens, all_tokens))
        self._sums = sums if self._sums is None else self._sums + sums

    @property
    def tokens(self) -> Tensor | None:
        """Supervised tokens on this rank since the last `take`, or None before the first micro-batch."""
        return None if self._sums is None else self._sums[1]

    def take(self, strategy: Strategy) -> StepSums:
        """The sums over all ranks, of which the next step begins anew.

        Args:
            strategy: The trainer's strategy.
        """
        loss, tokens, all_tokens = total(strategy, torch.zeros(3) if self._sums is None else self._sums).tolist()
        self.stop()  # only here has a GPU done what it was given to do
        seconds = self._seconds
        self._sums = None
        self._seconds = 0.0
        return StepSums(loss=loss, tokens=tokens, all_tokens=all_tokens, seconds=seconds)
