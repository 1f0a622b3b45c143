"""Symmetric positive definite K x K blocks, one per point of the eliminated source, factored side by side.

LAPACK pays a call per block, which for K = 4 and thousands of blocks is most of the time. Up to ``_UNROLLED``
answers the Cholesky recursion is written out over K and vectorised over everything else.

Shapes: n problems, K answers, B and A points of the kept and of the eliminated source.
"""

import torch
from torch import Tensor

_UNROLLED = 8


def margins_of_products(e_nKBA: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of ``e_y e_y'`` over B and over A: ``[n, K, K, A]`` and ``[n, K, K, B]``."""
    n, k, n_b, n_a = e_nKBA.shape
    if k > _UNROLLED:
        by_a, by_b = e_nKBA.permute(0, 3, 1, 2), e_nKBA.permute(0, 2, 1, 3)
        return (by_a @ by_a.mT).permute(0, 2, 3, 1), (by_b @ by_b.mT).permute(0, 2, 3, 1)
    over_b, over_a = e_nKBA.new_empty(n, k, k, n_a), e_nKBA.new_empty(n, k, k, n_b)
    for i in range(k):
        product_njBA = e_nKBA[:, i : i + 1] * e_nKBA[:, i:]
        over_b[:, i, i:] = over_b[:, i:, i] = product_njBA.sum(2)
        over_a[:, i, i:] = over_a[:, i:, i] = product_njBA.sum(3)
    return over_b, over_a


def factor(m_nKKA: Tensor) -> Tensor:
    """Lower Cholesky factors ``[n, K, K, A]`` of the blocks; only the lower triangle is meaningful."""
    k = m_nKKA.shape[1]
    if k > _UNROLLED:
        return torch.linalg.cholesky_ex(m_nKKA.permute(0, 3, 1, 2))[0].permute(0, 2, 3, 1)
    low = torch.zeros_like(m_nKKA)
    for j in range(k):
        column = m_nKKA[:, j:, j]
        if j:
            column = column - (low[:, j:, :j] * low[:, j : j + 1, :j]).sum(2)
        low[:, j:, j] = column * column[:, :1].clamp(min=1e-300).rsqrt()
    return low


def solve_lower(low_nKKA: Tensor, r_nKA: Tensor) -> Tensor:
    """``L^-1 r`` for right-hand sides ``[n, K, A]``."""
    out = torch.empty_like(r_nKA)
    for j in range(r_nKA.shape[1]):
        rest = r_nKA[:, j]
        if j:
            rest = rest - (low_nKKA[:, j, :j] * out[:, :j]).sum(1)
        out[:, j] = rest / low_nKKA[:, j, j]
    return out


def solve_upper(low_nKKA: Tensor, r_nKA: Tensor) -> Tensor:
    """``L^-T r`` for right-hand sides ``[n, K, A]``."""
    k = r_nKA.shape[1]
    out = torch.empty_like(r_nKA)
    for j in reversed(range(k)):
        rest = r_nKA[:, j]
        if j < k - 1:
            rest = rest - (low_nKKA[:, j + 1 :, j] * out[:, j + 1 :]).sum(1)
        out[:, j] = rest / low_nKKA[:, j, j]
    return out


def half_coupling(low_nKKA: Tensor, d_nKBA: Tensor, e_nKBA: Tensor) -> Tensor:
    """``W = L^-1 (diag(d) + e e^T)`` as ``[n, K * B, K * A]``: kept source by eliminated source."""
    n, k, n_b, n_a = d_nKBA.shape
    if k > _UNROLLED:
        return _half_coupling_lapack(low_nKKA, d_nKBA, e_nKBA)
    w_nKBjA = d_nKBA.new_empty(n, k, n_b, k, n_a)
    for j in range(k):
        w = w_nKBjA[:, :, :, j]
        torch.mul(e_nKBA, e_nKBA[:, j : j + 1], out=w)
        w[:, j] += d_nKBA[:, j]
        for i in range(j):
            w.addcmul_(w_nKBjA[:, :, :, i], low_nKKA[:, j, i, None, None, :], value=-1)
        w *= low_nKKA[:, j, j, None, None, :].reciprocal()
    return w_nKBjA.reshape(n, k * n_b, k * n_a)


def _half_coupling_lapack(low_nKKA: Tensor, d_nKBA: Tensor, e_nKBA: Tensor) -> Tensor:
    n, k, n_b, n_a = d_nKBA.shape
    right_nAjKB = e_nKBA.permute(0, 3, 1, 2)[:, :, :, None] * e_nKBA.permute(0, 3, 1, 2)[:, :, None]
    right_nAjKB.diagonal(dim1=2, dim2=3).add_(d_nKBA.permute(0, 3, 2, 1))
    low_nAKK = low_nKKA.permute(0, 3, 1, 2)
    w = torch.linalg.solve_triangular(low_nAKK, right_nAjKB.reshape(n, n_a, k, k * n_b), upper=False)
    return w.permute(0, 3, 2, 1).reshape(n, k * n_b, k * n_a)
