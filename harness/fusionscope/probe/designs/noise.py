"""Calibrated noise: as the paper masks a modality (arXiv 2603.29676, section 3), and the mean as its quiet relative.

Shapes: T tokens, D width.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Per-dimension mean and standard deviation of token embeddings.

    Args:
        mean: float64 [D].
        std: float64 [D], population.
        n: Tokens seen.

    Example:
        >>> found = moments([torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0]])])
        >>> found.n, found.mean.item(), round(found.std.item(), 4)
        (3, 3.0, 1.633)
    """

    mean: Tensor
    std: Tensor
    n: int

    def draw(self, like: Tensor, seed: int, scale: float) -> Tensor:
        """Independent normal embeddings in the shape of ``like`` [..., T, D]; only ``seed`` decides them."""
        generator = torch.Generator().manual_seed(seed)  # of the CPU, so that every device gets the same numbers
        normal = torch.randn(like.shape, generator=generator, dtype=torch.float32).to(like.device)
        mean, std = (x.to(normal) for x in (self.mean, scale * self.std))
        return (mean + std * normal).to(like)

    def fill(self, like: Tensor) -> Tensor:
        """The mean at every token, in the shape of ``like`` [..., T, D]."""
        return self.mean.to(like).expand_as(like)


def moments(embeddings: Iterable[Tensor], counts: Iterable[int] | None = None) -> Moments:
    """Streamed over tensors [..., D], where these are; nothing but sums is kept.

    Args:
        embeddings: The tensors.
        counts: How often each counts, at least once; once by default.
    """
    n, total, square = 0, torch.zeros(()), torch.zeros(())
    for tokens, count in zip(embeddings, repeat(1) if counts is None else counts, strict=counts is not None):
        flat = tokens.detach().reshape(-1, tokens.shape[-1])
        flat = (flat.cpu() if flat.device.type == "mps" else flat).double()
        total, square = total.to(flat), square.to(flat)
        more = count * len(flat)
        # Sums about the running mean: embeddings far from zero would cancel otherwise.
        delta = flat.mean(0) - (total / n if n else 0)
        square = square + count * (flat - flat.mean(0)).square().sum(0) + delta.square() * n * more / (n + more)
        total, n = total + count * flat.sum(0), n + more
    return Moments(mean=(total / n).cpu(), std=(square / n).sqrt().cpu(), n=n)


def seed_of(*parts: int) -> int:
    """One seed from several numbers, different for different numbers (SplitMix64 mixing).

    >>> seed_of(0, 1) != seed_of(1, 0)
    True
    """
    state = 0
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state >> 1
