"""Entropies and mutual informations of joint tensors, in nats.

Shapes: L leading dimensions, A images, B questions, K answers.
"""

import math

import torch
from torch import Tensor

NATS_TO_BITS = 1.0 / math.log(2.0)


def xlogx(x: Tensor) -> Tensor:
    """``x log x`` with the limit 0 at 0, whose gradient there is 0 instead of minus infinity."""
    positive = x > 0
    return torch.where(positive, x * torch.where(positive, x, torch.ones_like(x)).log(), torch.zeros_like(x))


def entropy(p: Tensor, n_event_dims: int = 1) -> Tensor:
    """Entropy over the trailing dimensions, nats [...]; homogeneous: ``p`` need not sum to 1."""
    return -xlogx(p).sum(tuple(range(-n_event_dims, 0)))


def information_about_answer(p: Tensor) -> Tensor:
    """I(X; Y) of joints p(x, y) [..., N, K] in nats [...]."""
    return entropy(p.sum(-1)) + entropy(p.sum(-2)) - entropy(p, 2)


def log_ratio(p: Tensor, q: Tensor) -> Tensor:
    """``log(p / q)``, 0 where ``p`` is 0."""
    positive = (p > 0) & (q > 0)
    ones = torch.ones_like(p)
    return torch.where(positive, (torch.where(positive, p, ones) / torch.where(positive, q, ones)).log(), 0.0)
