"""The coupling network of BATCH: many models (layers x seeds) as one.

Legend: L layers, S seeds, N samples in a minibatch (A of them as rows, B as columns), D features, K answers,
E numbers of an embedding, W width.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from fusionscope.pid.estimators._sinkhorn import balance_masses, sinkhorn

__all__ = ["Minibatch", "align", "flow", "initial_parameters"]

# The original code's guard against a division by zero and the logarithm of zero.
_GUARD = 1e-8


@dataclass(frozen=True, kw_only=True)
class Minibatch:
    """A minibatch of every model.

    Args:
        x1: Features of the first source, [S, N, D1], or [L, S, N, D1].
        x2: Features of the second source, [S, N, D2], or [L, S, N, D2].
        p1: Posteriors p(y|x1), [L, S, N, K].
        p2: Posteriors p(y|x2), [L, S, N, K].
    """

    x1: Tensor
    x2: Tensor
    p1: Tensor
    p2: Tensor


def initial_parameters(
    sizes: list[int], n_layers: int, generators: list[torch.Generator], like: Tensor
) -> list[Tensor]:
    """Weights and biases of a perceptron, uniform within one over the root of the fan-in: torch's default.

    Args:
        sizes: Input size, hidden sizes, output size.
        n_layers: How many layers L share a seed's initial values.
        generators: One CPU generator a seed.
        like: A tensor with the device and dtype of the parameters.

    Returns:
        Weight [L, S, in, out] and bias [L, S, 1, out] in turn, each a leaf that requires a gradient.
    """
    parameters = []
    for fan_in, fan_out in pairwise(sizes):
        for rows in (fan_in, 1):
            draws = [torch.rand(rows, fan_out, generator=generator, dtype=torch.float32) for generator in generators]
            start = (2 * torch.stack(draws) - 1) / math.sqrt(fan_in)
            start = start.to(like).expand(n_layers, -1, -1, -1).contiguous()
            parameters.append(start.requires_grad_())
    return parameters


def _embed(x: Tensor, parameters: list[Tensor], n_answers: int) -> Tensor:
    """Embeddings standardised over their E numbers, [L, S, K, N, E]."""
    layer_axis = "l" if x.ndim == 4 else ""
    hidden = torch.einsum(f"{layer_axis}snd,lsdw->lsnw", x, parameters[0]) + parameters[1]
    for weight, bias in zip(parameters[2::2], parameters[3::2], strict=True):
        hidden = torch.matmul(hidden.relu(), weight) + bias
    q = hidden.reshape(*hidden.shape[:-1], n_answers, -1).transpose(-2, -3)
    return (q - q.mean(-1, keepdim=True)) / (q.var(-1, keepdim=True) + _GUARD).sqrt()


def align(
    batch: Minibatch,
    parameters: tuple[list[Tensor], list[Tensor]],
    *,
    balance: bool,
    rounds: int,
    tolerance: float,
) -> tuple[Tensor, Tensor]:
    """The coupling Q(x2 | x1, y) of a minibatch.

    Args:
        batch: The samples.
        parameters: Of the first and of the second source's network.
        balance: Give each label one common mass before scaling.
        rounds: The most Sinkhorn rounds.
        tolerance: Sinkhorn's tolerance.

    Returns:
        Q(x2 | x1, y), [L, S, K, A, B], and the fraction of labels whose scaling stopped by tolerance, [L, S].

    Reference:
        Liang et al. (2023), arXiv 2302.12247, section 3.2.
    """
    n_answers = batch.p1.shape[-1]
    q1 = _embed(batch.x1, parameters[0], n_answers)
    q2 = _embed(batch.x2, parameters[1], n_answers)
    scores_LSKAB = torch.matmul(q1, q2.transpose(-1, -2)) / math.sqrt(q1.shape[-1])
    r, c = (p.transpose(-1, -2).flatten(0, -2) for p in (batch.p1, batch.p2))
    if balance:
        r, c = balance_masses(r, c)
    scaled_GAB, stopped_G = sinkhorn(scores_LSKAB.exp().flatten(0, 2), r, c, rounds=rounds, tolerance=tolerance)
    scaled = scaled_GAB.view_as(scores_LSKAB)
    stopped = stopped_G.view(scores_LSKAB.shape[:3]).to(scaled.dtype).mean(-1)
    return scaled / (scaled.sum(-1, keepdim=True) + _GUARD), stopped


def flow(q_LSKAB: Tensor, p1_LSAK: Tensor) -> Tensor:
    """I_Q(X2; Y | X1) of a minibatch, in nats, [L, S]: the loss, and I_Q(X1, X2; Y) less I(X1; Y).

    Args:
        q_LSKAB: Q(x2 | x1, y).
        p1_LSAK: Posteriors p(y|x1).
    """
    joint = q_LSKAB * p1_LSAK.transpose(-1, -2)[..., None]
    log_ratio = (q_LSKAB + _GUARD).log() - (joint.sum(2, keepdim=True) + _GUARD).log()
    return (joint * log_ratio).sum((2, 3, 4)) / q_LSKAB.shape[3]
