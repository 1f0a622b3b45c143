"""Whether a lens is worth using: how far what it reads is from the model's own answer, beside the logit lens.

Shapes: N positions, D width, V vocabulary.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.lens.logit import Lens, LogitLens


@dataclass(frozen=True, kw_only=True)
class LensComparison:
    """Divergences from the model's answer on one task.

    Args:
        lens: Name of the lens.
        task: Name of the task whose states were read.
        bits: Mean Kullback-Leibler divergence of the lens from the model's answer, bits.
        logit_bits: That of the logit lens at the same states.
    """

    lens: str
    task: str
    bits: float
    logit_bits: float

    def require_better(self) -> None:
        """Refuses a lens that is no better than none.

        Raises:
            InputError: It reads no nearer to the model's answer than the logit lens.
        """
        if not self.bits <= self.logit_bits:
            raise InputError(
                f"lens {self.lens!r} on task {self.task!r}: {self.bits:.3f} bits from the model's answer",
                f"the logit lens is {self.logit_bits:.3f} bits from it at the same states, so this lens misreads them",
                "train a lens on states like those of this task, train it longer or at a lower rate, or use lens=None",
            )


def divergence(lens: Lens, logit: LogitLens, hidden: Mapping[int, Tensor], layers: Sequence[int]) -> Tensor:
    """Mean Kullback-Leibler divergence of a lens from the model's answer, bits.

    Args:
        lens: The lens.
        logit: The model's norm and head; at the last layer, the model's answer.
        hidden: Hidden states [N, D] by layer, the last one among them.
        layers: Which layers to read.
    """
    last = max(hidden)
    answer = logit(hidden[last], last).float().log_softmax(-1)
    return torch.stack([divergence_of_logits(lens(hidden[layer], layer), answer) for layer in layers]).mean()


def divergence_of_logits(logits: Tensor, answer: Tensor) -> Tensor:
    """Mean divergence of logits [N, V] from log-probabilities [N, V], bits."""
    read = logits.float().log_softmax(-1)
    return torch.nn.functional.kl_div(read, answer, log_target=True, reduction="batchmean") / math.log(2)
