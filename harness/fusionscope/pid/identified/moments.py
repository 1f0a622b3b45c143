"""Moments of a unimodal posterior m(x) = E[p(y | x, other) | x] from a few draws of the other source for every x.

The product of k different draws' posteriors has the expectation m(x)^k, so that averages of such products
(U-statistics) estimate E[m^k] without the bias of a plug-in. For ``k`` up to the number of draws, symmetric functions
of the draws come from their power sums: with F(j, s) the coefficient of y^j x^s in ``prod_i (1 + y (exp(x p_i) - 1))``,

    m^k  is estimated by  k! sum_j C(M, j) / M^k  F(j, k) / C(r, j)

from r draws without replacement of M (a k-tuple of the M has j different members, with their exponents); M to infinity
leaves the elementary symmetric function, j = k. Where every one of the M was drawn, m is known. Strata:
m = sum_g pi_g u_g with the draws of a stratum known to be its own, and m^k expands into products of the strata's
estimates.

Every estimate is written as a mean over rows whose first-order dependence on every other row cancels (its Hajek
projection), so that one array serves as estimate, clustered covariance and held-out evaluation.

Shapes: L problems, N rows (pairs), O objects (images, or questions), K answers, S strata, D = degree + 1.

Reference:
    Hoeffding (1948), A class of statistics with asymptotically normal distribution; Tukey (1950), Some sampling
    simplified (polykays: finite populations); Cameron, Gelbach, Miller (2011), Robust inference with multiway
    clustering.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.pid.identified.basis import from_monomials

MAX_DEGREE = 8
COMPLETE = 0  # the degree of rows whose object's mean is exact
LADDER = (1, 2, 3, 4, 6, 8)


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """What the rows say of one source's unimodal posterior.

    Args:
        moments_LNKD: Row-wise estimates of the Legendre polynomials of m, up to the row's degree and 0 beyond, float64.
        degree_N: The highest power that the object's draws identify, on a ladder of few steps; ``COMPLETE`` where all
            of its finite list was drawn, int64.
        mean_LOK: The mean of each object's draws (m itself where complete), float64.
        object_N: Objects numbered from 0, int64.
    """

    moments_LNKD: Tensor
    degree_N: Tensor
    mean_LOK: Tensor
    object_N: Tensor


def repeats(
    p_LNK: Tensor,
    object_N: Tensor,
    weights_N: Tensor,
    *,
    stratum_N: Tensor | None = None,
    size_N: Tensor | None = None,
    max_degree: int = MAX_DEGREE,
) -> Repeats:
    """Row-wise unbiased estimates of the powers of every object's posterior.

    Args:
        p_LNK: p(y | both) of the rows, float64.
        object_N: The row's object, numbered from 0 without gaps, int64.
        weights_N: Weights of the rows, summing to 1; an object's are its draws' weights, float64.
        stratum_N: The row's stratum, numbered from 0, int64; the draws of one object and stratum are exchangeable,
            those of different strata are not. One stratum by default.
        size_N: How many draws the row's object (in the row's stratum) has in all, of which these are a sample without
            replacement, float64; infinity (the default) for draws with replacement.
        max_degree: The highest power.
    """
    n_objects = int(object_N.max()) + 1
    stratum_N = torch.zeros_like(object_N) if stratum_N is None else stratum_N
    size_N = torch.full_like(weights_N, torch.inf) if size_N is None else size_N
    cell_C, cell_N = torch.unique(object_N * (int(stratum_N.max()) + 1) + stratum_N, return_inverse=True)
    counts_C = torch.bincount(cell_N, minlength=len(cell_C))
    drawn_N, mass_N = counts_C[cell_N], _sum(weights_N, cell_N, len(cell_C))[cell_N]
    whole_N = drawn_N >= size_N
    relative_N = weights_N * drawn_N / mass_N
    fraction_N = mass_N / _sum(weights_N, object_N, n_objects)[object_N]
    power_N = torch.where(whole_N, float(max_degree), drawn_N.clamp(max=max_degree).double())
    usable_O = torch.full((n_objects,), float(max_degree), dtype=torch.float64, device=p_LNK.device)
    usable_O = usable_O.scatter_reduce(0, object_N, power_N, "amin").long()
    complete_O = torch.ones(n_objects, dtype=torch.float64, device=p_LNK.device)
    complete_O = complete_O.scatter_reduce(0, object_N, whole_N.double(), "amin") > 0
    degree = int(usable_O.max())
    value_LCK, row_LNK = _powers(p_LNK, cell_N, relative_N, size_N, len(cell_C), degree)
    value_LOK, row_LNK = _over_strata(value_LCK, row_LNK, cell_C, cell_N, object_N, stratum_N, fraction_N)
    ladder_O = torch.tensor([max(s for s in LADDER if s <= d) for d in range(1, max_degree + 1)], device=p_LNK.device)
    ladder_O = ladder_O[usable_O - 1]
    moments_LNKD = (value_LOK[:, object_N] + row_LNK) @ from_monomials(degree, like=p_LNK).mT
    within_ND = torch.arange(degree + 1, device=p_LNK.device) <= ladder_O[object_N, None]
    fraction_of_object_N = weights_N / _sum(weights_N, object_N, n_objects)[object_N]
    mean_LOK = torch.zeros(p_LNK.shape[0], n_objects, p_LNK.shape[2], dtype=p_LNK.dtype, device=p_LNK.device)
    mean_LOK = mean_LOK.index_add(1, object_N, fraction_of_object_N[:, None] * p_LNK)
    return Repeats(
        moments_LNKD=torch.where(within_ND[:, None], moments_LNKD, 0.0),
        degree_N=torch.where(complete_O, COMPLETE, ladder_O)[object_N],
        mean_LOK=mean_LOK,
        object_N=object_N,
    )


def _sum(x_N: Tensor, index_N: Tensor, count: int) -> Tensor:
    return torch.zeros(count, dtype=x_N.dtype, device=x_N.device).index_add(0, index_N, x_N)


def _powers(
    p_LNK: Tensor, cell_N: Tensor, relative_N: Tensor, size_N: Tensor, n_cells: int, degree: int
) -> tuple[Tensor, Tensor]:
    """Estimates of u^k of each cell [L, C, K, D], and what each row adds to them: its Hajek part [L, N, K, D].

    The Hajek part is the derivative of the cell's estimate in the row's weight, of mean 0 over the cell's rows, times
    the number of rows.
    """
    exponents = torch.arange(1, degree + 1, dtype=p_LNK.dtype, device=p_LNK.device)
    raised_LNKD = (relative_N[:, None] * p_LNK)[..., None] ** exponents
    sums = torch.zeros(p_LNK.shape[0], n_cells, p_LNK.shape[2], degree, dtype=p_LNK.dtype, device=p_LNK.device)
    sums = sums.index_add(1, cell_N, raised_LNKD)
    all_LCKJS, others_LNKJS = _symmetric(sums), _symmetric(sums[:, cell_N] - raised_LNKD)
    weight_ND = relative_N[:, None] ** exponents
    weights_CD = torch.zeros(n_cells, degree, dtype=p_LNK.dtype, device=p_LNK.device).index_add(0, cell_N, weight_ND)
    count_CJ = _symmetric(weights_CD).diagonal(dim1=-2, dim2=-1)
    without_NJ = _symmetric(weights_CD[cell_N] - weight_ND).diagonal(dim1=-2, dim2=-1)
    drawn_N = torch.bincount(cell_N, minlength=n_cells)[cell_N]
    size_C = torch.full((n_cells,), torch.inf, dtype=p_LNK.dtype, device=p_LNK.device)
    size_C = size_C.scatter_reduce(0, cell_N, size_N, "amin")
    chance_CJS = _chances(size_C, degree)
    per_tuple_CJ = torch.where(count_CJ > 0, 1.0 / torch.where(count_CJ > 0, count_CJ, 1.0), 0.0)
    scale_CJS = chance_CJS * per_tuple_CJ[..., None]
    mean_LCKS = (all_LCKJS * scale_CJS[:, None]).sum(-2)
    with_row = all_LCKJS[:, cell_N] - others_LNKJS
    tuples_NJ = (count_CJ[cell_N] - without_NJ) * per_tuple_CJ[cell_N]
    row = ((with_row - tuples_NJ[:, None, :, None] * all_LCKJS[:, cell_N]) * scale_CJS[cell_N, None]).sum(-2)
    return mean_LCKS, drawn_N[:, None, None] / relative_N[:, None, None] * row


def _symmetric(sums_XD: Tensor) -> Tensor:
    """F(j, s), j and s = 0..degree, of ``prod_i (1 + y (exp(x p_i) - 1))`` from the power sums [..., degree].

    The logarithm of the product has the coefficients ``(-1)^(j-1) (j-1)! S(s, j) / s!`` times the s-th power sum, with
    Stirling numbers of the second kind; a power series is exponentiated by ``s F_s = sum_u u L_u F_(s-u)``.
    """
    degree = sums_XD.shape[-1]
    log = [torch.zeros(degree + 1, dtype=sums_XD.dtype, device=sums_XD.device)]
    for s in range(1, degree + 1):
        of_j = [0.0] + [
            (-1.0) ** (j - 1) * math.factorial(j - 1) * _stirling(s, j) / math.factorial(s)
            for j in range(1, degree + 1)
        ]
        log.append(torch.tensor(of_j, dtype=sums_XD.dtype, device=sums_XD.device))
    first = torch.zeros(*sums_XD.shape[:-1], degree + 1, dtype=sums_XD.dtype, device=sums_XD.device)
    first[..., 0] = 1.0
    series = [first]
    for s in range(1, degree + 1):
        total = torch.zeros_like(first)
        for u in range(1, s + 1):
            for j in range(1, u + 1):
                moved = u * log[u][j] * sums_XD[..., u - 1, None] * series[s - u][..., : degree + 1 - j]
                total[..., j:] = total[..., j:] + moved
        series.append(total / s)
    return torch.stack(series, -1)


def _stirling(n: int, k: int) -> int:
    return sum((-1) ** (k - i) * math.comb(k, i) * i**n for i in range(k + 1)) // math.factorial(k)


def _chances(size_C: Tensor, degree: int) -> Tensor:
    """``k! C(M, j) / M^k`` [C, j, k]; the identity for infinite M."""
    chance = torch.eye(degree + 1, dtype=size_C.dtype, device=size_C.device).repeat(len(size_C), 1, 1)
    finite_C = torch.isfinite(size_C)
    size = torch.where(finite_C, size_C, 1.0)
    falling = torch.ones_like(size)
    for j in range(degree + 1):
        for k in range(degree + 1):
            exact = math.factorial(k) * falling / size**k
            chance[:, j, k] = torch.where(finite_C, exact, chance[:, j, k])
        falling = falling * (size - j).clamp(min=0.0) / (j + 1)
    return chance


def _over_strata(
    value_LCKD: Tensor,
    row_LNKD: Tensor,
    cell_C: Tensor,
    cell_N: Tensor,
    object_N: Tensor,
    stratum_N: Tensor,
    fraction_N: Tensor,
) -> tuple[Tensor, Tensor]:
    """Powers of ``m = sum_g pi_g u_g`` from those of the u_g, [L, O, K, D], and the rows' parts [L, N, K, D]."""
    strata, n_objects = int(stratum_N.max()) + 1, int(object_N.max()) + 1
    if strata == 1:
        return value_LCKD, row_LNKD
    degree = value_LCKD.shape[-1] - 1
    factorial = torch.tensor([math.factorial(k) for k in range(degree + 1)], dtype=row_LNKD.dtype).to(row_LNKD.device)
    scale_ND = fraction_N[:, None] ** torch.arange(degree + 1, device=fraction_N.device) / factorial
    scale_CD = torch.zeros_like(value_LCKD[0, :, 0]).index_copy(0, cell_N, scale_ND)
    nothing = torch.zeros_like(factorial)
    nothing[0] = 1.0
    parts = []
    for g in range(strata):
        part = nothing.expand(len(value_LCKD), n_objects, value_LCKD.shape[2], -1).clone()
        of_g = (cell_C % strata == g).nonzero()[:, 0]
        part[:, cell_C[of_g] // strata] = value_LCKD[:, of_g] * scale_CD[of_g, None]
        parts.append(part)
    whole = parts[0]
    for part in parts[1:]:
        whole = _product(whole, part)
    rows = torch.zeros_like(row_LNKD)
    for g in range(strata):
        others = nothing.expand_as(whole)
        for other in (x for i, x in enumerate(parts) if i != g):
            others = _product(others, other)
        of_g = (stratum_N == g).nonzero()[:, 0]
        part = row_LNKD[:, of_g] * (scale_ND / fraction_N[:, None])[of_g, None]
        rows[:, of_g] = _product(part, others[:, object_N[of_g]])
    return whole * factorial, rows * factorial


def _product(a_D: Tensor, b_D: Tensor) -> Tensor:
    """The product of two power series [..., D], cut at the degree."""
    total = torch.zeros_like(a_D + b_D)
    for i in range(a_D.shape[-1]):
        total[..., i:] += a_D[..., i : i + 1] * b_D[..., : b_D.shape[-1] - i]
    return total
