"""Shifted Legendre polynomials, in which moments of a posterior on [0, 1] are close to uncorrelated.

Shapes: D = degree + 1 coefficients, G nodes.
"""

import math
from functools import cache

import torch
from torch import Tensor

NODES = 257
THRESHOLD_STRIDE = 8
SOLVER_STRIDE = 2


def chebyshev_nodes(count: int = NODES, *, like: Tensor) -> Tensor:
    """Chebyshev-Lobatto points of [0, 1], ends included, float64 [count]; exact mirror images of each other."""
    half = torch.arange(count, dtype=torch.float64, device=like.device) * (0.5 * math.pi / (count - 1))
    return torch.where(half < math.pi / 4, half.sin() ** 2, 1.0 - half.cos() ** 2)


def from_monomials(degree: int, *, like: Tensor) -> Tensor:
    """The matrix [D, D] that takes 1, m, m^2, ... to the shifted Legendre polynomials P_k(2m - 1), k = 0..degree."""
    rows = [
        [(-1.0) ** (k + i) * math.comb(k, i) * math.comb(k + i, i) if i <= k else 0.0 for i in range(degree + 1)]
        for k in range(degree + 1)
    ]
    return torch.tensor(rows, dtype=torch.float64, device=like.device)


@cache
def at_nodes(count: int, degree: int, derivative: int, device: torch.device) -> Tensor:
    """P_k(2x - 1), or a derivative of it, at the Chebyshev nodes, float64 [count, D]; not to be changed in place."""
    nodes_G = chebyshev_nodes(count, like=torch.zeros(1, dtype=torch.float64, device=device))
    return legendre(nodes_G, degree, derivative)


def legendre(x_G: Tensor, degree: int, derivative: int = 0) -> Tensor:
    """P_k(2x - 1), or a derivative of it in x, float64 [G, D], by the three-term recurrence and its derivatives."""
    z_G = 2.0 * x_G - 1.0
    orders = [[torch.zeros_like(z_G) for _ in range(degree + 1)] for _ in range(derivative + 1)]
    for k in range(degree + 1):
        for j in range(derivative + 1):
            if k == 0:
                orders[j][k] = torch.ones_like(z_G) if j == 0 else torch.zeros_like(z_G)
                continue
            before = orders[j - 1][k - 1] if j > 0 else torch.zeros_like(z_G)
            twice = orders[j][k - 2] if k > 1 else torch.zeros_like(z_G)
            orders[j][k] = ((2 * k - 1) * (z_G * orders[j][k - 1] + 2 * j * before) - (k - 1) * twice) / k
    return torch.stack(orders[derivative], -1)


def largest_derivatives(degree: int, derivative: int, *, like: Tensor) -> Tensor:
    """The maximum over [0, 1] of the absolute derivative of every P_k(2x - 1), [D]: it is the value at x = 1."""
    return legendre(torch.ones(1, dtype=torch.float64, device=like.device), degree, derivative)[0].abs()
