"""BATCH the original way: one model, one label, one round at a time. The yardstick of `bench_pid.py`.

Follows the released estimator of Liang et al. (2023, arXiv 2302.12247) step by step, with given posteriors in
the place of its discriminators, as Xiu et al. (2026) use it: the whole matrix is rescaled and checked each
round, and autograd unrolls everything. Run the benchmark, not this file.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

EPS = 1e-8


def perceptron(size: int, hidden: int, out: int, layers: int) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Linear(size, hidden), nn.ReLU()]
    for _ in range(layers):
        parts += [nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(hidden, out))


def one_round(matrix: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, bool]:
    matrix = matrix / (matrix.sum(0, keepdim=True) + EPS) * columns[None]
    if torch.allclose(matrix.sum(1), rows, rtol=0, atol=0.01):
        return matrix, True
    matrix = matrix / (matrix.sum(1, keepdim=True) + EPS) * rows[:, None]
    return matrix, torch.allclose(matrix.sum(0), columns, rtol=0, atol=0.01)


def coupling(networks: nn.ModuleList, x1: Tensor, x2: Tensor, p1: Tensor, p2: Tensor) -> Tensor:
    """The scaled alignment [A, B, K] of one minibatch."""
    n_answers = p1.shape[1]
    q1, q2 = (net(x).unflatten(1, (n_answers, -1)) for net, x in zip(networks, (x1, x2), strict=True))
    q1, q2 = ((q - q.mean(2, keepdim=True)) / torch.sqrt(q.var(2, keepdim=True) + EPS) for q in (q1, q2))
    align = torch.exp(torch.einsum("ahx, bhx -> abh", q1, q2) / math.sqrt(q1.shape[-1]))
    scaled = []
    for label in range(n_answers):
        matrix = align[..., label]
        for _ in range(500):
            matrix, stop = one_round(matrix, p1[:, label], p2[:, label])
            if stop:
                break
        scaled.append(matrix)
    return torch.stack(scaled, dim=-1)


def terms(align: Tensor, p1: Tensor, p2: Tensor, p12: Tensor, p_y: Tensor) -> tuple[Tensor, Tensor]:
    """The loss, and the four atoms in nats."""
    q = align / (align.sum(1, keepdim=True) + EPS)
    log_term = torch.log(q + EPS) - torch.log(torch.einsum("aby, ay -> ab", q, p1) + EPS)[:, :, None]
    loss = (p1[:, None, :] * q * log_term).sum((1, 2)).mean()
    i1, i2, i12 = ((p * (torch.log(p + EPS) - torch.log(p_y))).sum(-1).mean() for p in (p1, p2, p12))
    joint_log = log_term + torch.log(p1 + EPS)[:, None, :] - torch.log(p_y + EPS)
    i_q = (p1[:, None, :] * q * joint_log).sum((1, 2)).mean()
    return loss, torch.stack([i1 + i2 - i_q, i_q - i2, i_q - i1, i12 - i_q])


def minibatches(index: Tensor) -> Iterator[Tensor]:
    """Batches of 256, the tail dropped."""
    yield from (index[start : start + 256] for start in range(0, len(index) - 255, 256))


def estimate(
    x1: Tensor, x2: Tensor, p12: Tensor, p1: Tensor, p2: Tensor, *, seed: int = 0, epochs: int = 8
) -> dict[str, float]:
    """The atoms in bits, unclipped.

    Args:
        x1: Features of the first source, float32 [N, D1].
        x2: Features of the second source, float32 [N, D2].
        p12: p(y|x1,x2), float32 [N, K].
        p1: p(y|x1), float32 [N, K].
        p2: p(y|x2), float32 [N, K].
        seed: Of the split, the initial values and the order of samples.
        epochs: Passes over the training part.
    """
    torch.manual_seed(seed)
    order = torch.randperm(len(x1))
    cut = len(x1) * 3 // 4
    train, test = order[:cut], order[cut:]
    p_y = p12[train].mean(0)
    networks = nn.ModuleList([perceptron(x.shape[1], 32, 10 * p1.shape[1], 3) for x in (x1, x2)])
    optimizer = torch.optim.Adam(networks.parameters(), lr=1e-3)
    for _ in range(epochs):
        for i in minibatches(train[torch.randperm(len(train))]):
            optimizer.zero_grad()
            loss, _ = terms(coupling(networks, x1[i], x2[i], p1[i], p2[i]), p1[i], p2[i], p12[i], p_y)
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        batches = [
            terms(coupling(networks, x1[i], x2[i], p1[i], p2[i]), p1[i], p2[i], p12[i], p_y)[1]
            for i in minibatches(test)
        ]
    atoms = torch.stack(batches).mean(0) / math.log(2)
    names = ("redundancy", "unique_vision", "unique_language", "synergy")
    return dict(zip(names, atoms.tolist(), strict=True))
