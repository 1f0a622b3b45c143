"""Standard errors over samples of paired posteriors, and halves to judge them by.

The influence of a sample on the union information is ``t1 (f - u1) + t2 (g - u2) + t (u1 + u2 - log p(y))``:
reweighting one sample moves the marginals of the two sources apart, the tilt that brings them back moves every
posterior, and to first order that is what u does: the regression of the potentials on the answer within samples. It
also fixes the gauge.

With more than two answers and many samples, halves are decomposed on sources merged into a few cells: a kink
(channels that are nearly equal) stays one, at a cost that stays small.

Shapes: L problems, R splits, N samples, M cells, K answers.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fusionscope.pid import device
from fusionscope.pid.information import NATS_TO_BITS, information_about_answer, log_ratio
from fusionscope.pid.local import with_atoms
from fusionscope.pid.tilt import consistent_masses, tilt
from fusionscope.pid.uncertainty.regularity import (
    HALF_TOLERANCE,
    SPLITS,
    Halves,
    half_sample_bias,
    halves,
    judge,
    pairs_of,
)
from fusionscope.pid.union import Union, merge, pool, solve_union

_MOST_POINTS = 64
_CELLS = 16


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """Posteriors of a source's cells ``[L, M, K]``, and the cell of every sample ``[L, N]``."""

    rows_LMK: Tensor
    of_LN: Tensor

    def by_sample(self, u_LMK: Tensor) -> Tensor:
        return u_LMK.gather(1, self.of_LN[..., None].expand(-1, -1, u_LMK.shape[-1]))

    def some(self, kept: Tensor) -> "_Cells":
        if self.rows_LMK.shape[1] == self.of_LN.shape[1]:
            return _own(self.rows_LMK[:, kept])
        return _Cells(rows_LMK=self.rows_LMK, of_LN=self.of_LN[:, kept])

    @staticmethod
    def cat(some: list["_Cells"]) -> "_Cells":
        return _Cells(rows_LMK=torch.cat([x.rows_LMK for x in some]), of_LN=torch.cat([x.of_LN for x in some]))


def _own(rows_LNK: Tensor) -> _Cells:
    n_problems, n, _ = rows_LNK.shape
    return _Cells(rows_LMK=rows_LNK, of_LN=torch.arange(n, device=rows_LNK.device).expand(n_problems, n))


def sample_uncertainty(
    joint_LNK: Tensor,
    vision_LNK: Tensor,
    language_LNK: Tensor,
    w_LN: Tensor,
    union: Union,
    estimates: dict[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Standard errors in bits of all atoms and informations, and the diagnostics of a kink.

    Args:
        joint_LNK: p(y | x1, x2).
        vision_LNK: p(y | x1), tilted.
        language_LNK: p(y | x2), tilted.
        w_LN: Weights of the samples.
        union: The solution.
        estimates: The atoms, bits [L].
    """
    errors = _errors(sample_scores(joint_LNK, vision_LNK, language_LNK, w_LN, union), w_LN)
    of_cells = joint_LNK.shape[1] > _MOST_POINTS and joint_LNK.shape[2] > 2
    sources = tuple(_coarse(rows, w_LN) if of_cells else _own(rows) for rows in (vision_LNK, language_LNK))
    split = _halved(sources, joint_LNK, w_LN)
    diagnostics = judge(estimates, errors, split)
    diagnostics |= {f"half_sample_bias_{name}": bias for name, bias in half_sample_bias(split).items()}
    degrees = max(1.0, joint_LNK.shape[1] - 1.0)
    return errors, {**diagnostics, "degrees_of_freedom": torch.full_like(errors["union"], degrees)}


def _coarse(rows_LNK: Tensor, w_LN: Tensor) -> _Cells:
    mass_LMK, of_LN = merge(rows_LNK * w_LN[..., None], _CELLS)
    total_LM1 = mass_LMK.sum(-1, keepdim=True)
    empty = torch.full_like(mass_LMK, 1 / mass_LMK.shape[-1])
    return _Cells(rows_LMK=torch.where(total_LM1 > 0, mass_LMK / total_LM1.clamp(min=1e-300), empty), of_LN=of_LN)


def _halved(sources: tuple[_Cells, ...], joint_LNK: Tensor, w_LN: Tensor) -> Halves:
    """Random halves of the samples, many at once, each tilted anew, and the whole on the same cells."""
    n_problems, n, k = joint_LNK.shape
    generator = torch.Generator().manual_seed(n)
    splits = [halves(n, True, generator) for _ in range(SPLITS)]
    picks = [half.to(w_LN.device) for both in splits for half in (both[0], both[-1])]
    chunk = device.at_once(w_LN, n_problems * len(picks[0]) * k)
    parts = [_decompose_some(sources, joint_LNK, w_LN, picks[i : i + chunk]) for i in range(0, len(picks), chunk)]
    values, errors = ({name: pairs_of([part[i][name] for part in parts]) for name in parts[0][i]} for i in range(2))
    return Halves(whole=_bits(_solved(sources, joint_LNK, w_LN)[1]), values=values, errors=errors)


def _decompose_some(
    sources: tuple[_Cells, ...], joint_LNK: Tensor, w_LN: Tensor, picks: list[Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Values and standard errors of some halves, bits [R, L] each."""
    w = torch.cat([w_LN[:, kept] for kept in picks])
    mass = w.sum(1, keepdim=True)
    w = torch.where(mass > 0, w / mass.clamp(min=1e-300), 1.0 / w.shape[1])
    of_halves = tuple(_Cells.cat([source.some(kept) for kept in picks]) for source in sources)
    scores, found = _solved(of_halves, torch.cat([joint_LNK[:, kept] for kept in picks]), w)
    values, errors = (
        {n: x.view(len(picks), -1) for n, x in some.items()} for some in (_bits(found), _errors(scores, w))
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
        rows.append(source.by_sample(rows_LMK))
    union = solve_union(*consistent_masses(*masses), HALF_TOLERANCE)
    of_samples = replace(union, f_LAK=sources[0].by_sample(union.f_LAK), g_LBK=sources[1].by_sample(union.g_LBK))
    values = {
        "information_vision": information_about_answer(masses[0]),
        "information_language": information_about_answer(masses[1]),
        "total": (joint_LNK * w_LN[..., None] * log_ratio(joint_LNK, py_LK[:, None])).sum((1, 2)),
        "union": union.value_L,
    }
    return sample_scores(joint_LNK, rows[0], rows[1], w_LN, of_samples), values


def _errors(scores: dict[str, Tensor], w_LN: Tensor) -> dict[str, Tensor]:
    return {name: NATS_TO_BITS * _error(s_LN, w_LN) for name, s_LN in with_atoms(scores).items()}


def sample_scores(
    joint_LNK: Tensor, vision_LNK: Tensor, language_LNK: Tensor, w_LN: Tensor, union: Union
) -> dict[str, Tensor]:
    """Influence of every sample on the four informations, nats [L, N], up to a constant."""
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
    """``(mean Cov)^+ (mean Cov u)`` over the answers within samples, [L, 1, K]."""
    weighted = p_LNK * w_LN[..., None]
    u_LNK = u_LNK.clamp(min=-100.0)
    covariance = torch.diag_embed(weighted.sum(1)) - weighted.mT @ p_LNK
    centred = u_LNK - (p_LNK * u_LNK).sum(-1, keepdim=True)
    moment = (weighted * centred).sum(1)
    return (torch.linalg.pinv(covariance, rtol=1e-9, hermitian=True) @ moment[..., None]).mT


def _error(s_LN: Tensor, w_LN: Tensor) -> Tensor:
    n = s_LN.shape[1]
    d_LN = w_LN * (s_LN - (w_LN * s_LN).sum(1, keepdim=True))
    return ((d_LN**2).sum(1) * (n / max(n - 1, 1))).sqrt()
