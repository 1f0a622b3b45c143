"""Standard errors of paired posteriors, clustered by image and by question, and halves to judge them by.

The influence of a pair on the union information is ``t1 (f - u1) + t2 (g - u2) + t (u1 + u2 - log p(y))``:
reweighting one pair moves the marginals of the two sources apart, the tilt that brings them back moves every
posterior, and to first order that is what u does: the regression of the potentials on the answer within pairs. It
also fixes the gauge.

Halves are of the images, of the questions and of the cells that they share: with signs as in the variance, these add up
to what two-way sampling does. With more than two answers they are decomposed on sources merged into a few cells: a kink
(channels that are nearly equal) stays one, at a cost that stays small.

Shapes: L problems, R splits, r of 2 R halves, N pairs, M cells, K answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fusionscope.pid import device
from fusionscope.pid.information import NATS_TO_BITS, information_about_answer, log_ratio
from fusionscope.pid.local import with_atoms
from fusionscope.pid.result import ATOMS
from fusionscope.pid.tilt import consistent_masses, tilt
from fusionscope.pid.uncertainty.clusters import Partition, clustered
from fusionscope.pid.uncertainty.regularity import HALF_TOLERANCE, Halves, half_sample_bias, judge, pairs_of
from fusionscope.pid.uncertainty.splits import halves_of
from fusionscope.pid.union import Union, merge, pool, solve_union

_CELLS = 16


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """Posteriors of a source's cells ``[L, M, K]``, and the cell of every pair ``[L, N]``."""

    rows_LMK: Tensor
    of_LN: Tensor

    def by_pair(self, u_LMK: Tensor) -> Tensor:
        return u_LMK.gather(1, self.of_LN[..., None].expand(-1, -1, u_LMK.shape[-1]))

    def repeated(self, times: int) -> "_Cells":
        return _Cells(rows_LMK=self.rows_LMK.repeat(times, 1, 1), of_LN=self.of_LN.repeat(times, 1))


def sample_uncertainty(
    joint_LNK: Tensor,
    vision_LNK: Tensor,
    language_LNK: Tensor,
    w_LN: Tensor,
    union: Union,
    estimates: dict[str, Tensor],
    by: Sequence[Partition],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Standard errors in bits of all atoms and informations, and the diagnostics of a kink.

    Args:
        joint_LNK: p(y | x1, x2).
        vision_LNK: p(y | x1), tilted.
        language_LNK: p(y | x2), tilted.
        w_LN: Weights of the pairs.
        union: The solution.
        estimates: The atoms, bits [L].
        by: The units that were sampled.
    """
    scores = sample_scores(joint_LNK, vision_LNK, language_LNK, w_LN, union)
    errors, degrees = _errors(scores, w_LN, by)
    if not by:
        return errors, {}
    of_cells = joint_LNK.shape[1] > _CELLS and joint_LNK.shape[2] > 2
    sources = tuple(_coarse(rows, w_LN) if of_cells else _every(rows) for rows in (vision_LNK, language_LNK))
    splits = _halved(sources, joint_LNK, w_LN, by)
    bias = half_sample_bias(splits)
    diagnostics = judge(estimates, errors, splits)
    diagnostics |= {f"half_sample_bias_{name}": bias[name] for name in ATOMS}
    diagnostics |= {f"degrees_of_freedom_{name}": degrees[name] for name in ATOMS}
    return errors, diagnostics


def _every(rows_LNK: Tensor) -> _Cells:
    n_problems, n, _ = rows_LNK.shape
    return _Cells(rows_LMK=rows_LNK, of_LN=torch.arange(n, device=rows_LNK.device).expand(n_problems, n))


def _coarse(rows_LNK: Tensor, w_LN: Tensor) -> _Cells:
    mass_LMK, of_LN = merge(rows_LNK * w_LN[..., None], _CELLS)
    total_LM1 = mass_LMK.sum(-1, keepdim=True)
    empty = torch.full_like(mass_LMK, 1 / mass_LMK.shape[-1])
    return _Cells(rows_LMK=torch.where(total_LM1 > 0, mass_LMK / total_LM1.clamp(min=1e-300), empty), of_LN=of_LN)


def _halved(sources: tuple[_Cells, ...], joint_LNK: Tensor, w_LN: Tensor, by: Sequence[Partition]) -> list[Halves]:
    """Random halves of the units of every partition, each tilted anew, and the whole on the same cells."""
    whole = _bits(_solved(sources, joint_LNK, w_LN)[1])
    splits = []
    for partition in by:
        masks_rN = _masks(partition).to(w_LN.device)
        chunk = device.at_once(w_LN, joint_LNK.numel())
        parts = [_decompose_some(sources, joint_LNK, w_LN, some, by) for some in torch.split(masks_rN, chunk)]
        values, errors = ({name: pairs_of([part[i][name] for part in parts]) for name in parts[0][i]} for i in range(2))
        splits.append(Halves(whole=whole, values=values, errors=errors, sign=partition.sign))
    return splits


def _masks(partition: Partition) -> Tensor:
    """Which pairs are in which half, bool [2 R, N]; each two that follow one another are complementary."""
    if partition.n < 2:
        return torch.ones(4, len(partition.of_N), dtype=torch.bool)
    halves = [half for both in halves_of(partition.n) for half in both]
    member_rG = torch.zeros(len(halves), partition.n, dtype=torch.bool)
    for row, half in zip(member_rG, halves, strict=True):
        row[half] = True
    return member_rG[:, partition.of_N.cpu()]


def _decompose_some(
    sources: tuple[_Cells, ...], joint_LNK: Tensor, w_LN: Tensor, masks_rN: Tensor, by: Sequence[Partition]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Values and standard errors of some halves, bits [r, L] each."""
    times = len(masks_rN)
    w = (masks_rN[:, None] * w_LN).flatten(0, 1)
    mass = w.sum(1, keepdim=True)
    w = torch.where(mass > 0, w / mass.clamp(min=1e-300), 1.0 / w.shape[1])
    scores, informations = _solved(tuple(x.repeated(times) for x in sources), joint_LNK.repeat(times, 1, 1), w)
    values, errors = (
        {name: x.view(times, -1) for name, x in some.items()}
        for some in (_bits(informations), _errors(scores, w, by)[0])
    )
    return values, errors


def _bits(informations: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: NATS_TO_BITS * x for name, x in with_atoms(informations).items()}


def _solved(
    sources: tuple[_Cells, ...], joint_LNK: Tensor, w_LN: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Influences ``[L, N]`` and values ``[L]`` of the four informations, nats, at a loose tolerance."""
    py_LK = (joint_LNK * w_LN[..., None]).sum(1)
    masses, rows = [], []
    for source in sources:
        mass_LM = pool(w_LN[..., None], source.of_LN, source.rows_LMK.shape[1])[..., 0]
        rows_LMK = tilt(source.rows_LMK, mass_LM, py_LK)[0]
        masses.append(rows_LMK * mass_LM[..., None])
        rows.append(source.by_pair(rows_LMK))
    union = solve_union(*consistent_masses(*masses), HALF_TOLERANCE)
    of_pairs = replace(union, f_LAK=sources[0].by_pair(union.f_LAK), g_LBK=sources[1].by_pair(union.g_LBK))
    values = {
        "information_vision": information_about_answer(masses[0]),
        "information_language": information_about_answer(masses[1]),
        "total": (joint_LNK * w_LN[..., None] * log_ratio(joint_LNK, py_LK[:, None])).sum((1, 2)),
        "union": union.value_L,
    }
    return sample_scores(joint_LNK, rows[0], rows[1], w_LN, of_pairs), values


def _errors(
    scores: dict[str, Tensor], w_LN: Tensor, by: Sequence[Partition]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Standard errors in bits and their degrees of freedom ``[L]``."""
    errors, degrees = {}, {}
    for name, s_LN in with_atoms(scores).items():
        d_LN = w_LN * (s_LN - (w_LN * s_LN).sum(1, keepdim=True))
        variance_L, degrees[name] = clustered(d_LN, w_LN, by)
        errors[name] = NATS_TO_BITS * variance_L.sqrt()
    return errors, degrees


def sample_scores(
    joint_LNK: Tensor, vision_LNK: Tensor, language_LNK: Tensor, w_LN: Tensor, union: Union
) -> dict[str, Tensor]:
    """Influence of every pair on the four informations, nats [L, N], up to a constant."""
    py_LK = (joint_LNK * w_LN[..., None]).sum(1)
    log_py = torch.where(py_LK > 0, py_LK, torch.ones_like(py_LK)).log()[:, None]

    def influence(p_LNK: Tensor, u_LNK: Tensor) -> Tensor:
        shift = _regression(p_LNK, u_LNK, w_LN)
        return (p_LNK * (u_LNK - shift) + joint_LNK * shift).sum(-1)

    def log_odds(p_LNK: Tensor) -> Tensor:
        return torch.where(p_LNK > 0, p_LNK, torch.ones_like(p_LNK)).log() - log_py

    return {
        "information_vision": influence(vision_LNK, log_odds(vision_LNK)),
        "information_language": influence(language_LNK, log_odds(language_LNK)),
        "total": (joint_LNK * log_odds(joint_LNK)).sum(-1),
        "union": influence(vision_LNK, union.f_LAK)
        + influence(language_LNK, union.g_LBK)
        - (joint_LNK * log_py).sum(-1),
    }


def _regression(p_LNK: Tensor, u_LNK: Tensor, w_LN: Tensor) -> Tensor:
    """``(mean Cov)^+ (mean Cov u)`` over the answers within pairs, [L, 1, K]."""
    weighted = p_LNK * w_LN[..., None]
    u_LNK = u_LNK.clamp(min=-100.0)
    covariance = torch.diag_embed(weighted.sum(1)) - weighted.mT @ p_LNK
    centred = u_LNK - (p_LNK * u_LNK).sum(-1, keepdim=True)
    moment = (weighted * centred).sum(1)
    return (torch.linalg.pinv(covariance, rtol=1e-9, hermitian=True) @ moment[..., None]).mT
