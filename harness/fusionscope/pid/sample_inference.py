"""Standard errors over samples of paired posteriors.

The influence of a sample on the union information is ``t1 (f - u1) + t2 (g - u2) + t (u1 + u2 - log p(y))``:
reweighting one sample moves the marginals of the two sources apart, the tilt that brings them back moves every
posterior, and to first order that is what u does: the regression of the potentials on the answer within samples. It
also fixes the gauge.

Shapes: L problems, N samples, K answers.
"""

import torch
from torch import Tensor

from fusionscope.pid.inference import NONREGULAR_AT, RESAMPLED_SHARE, in_standard_errors
from fusionscope.pid.information import NATS_TO_BITS, log_ratio
from fusionscope.pid.local import with_atoms
from fusionscope.pid.tilt import consistent_masses, tilt
from fusionscope.pid.union import Union, solve_union

_REPLICATES = 16
_MOST_POINTS = 64
_TOLERANCE = 2e-4


def sample_uncertainty(
    joint_LNK: Tensor, vision_LNK: Tensor, language_LNK: Tensor, w_LN: Tensor, union: Union
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Standard errors in bits of all atoms and informations, and the diagnostics of a kink.

    Args:
        joint_LNK: p(y | x1, x2).
        vision_LNK: p(y | x1), tilted.
        language_LNK: p(y | x2), tilted.
        w_LN: Weights of the samples.
        union: The solution.
    """
    scores = sample_scores(joint_LNK, vision_LNK, language_LNK, w_LN, union)
    errors = {name: NATS_TO_BITS * _error(s_LN, w_LN) for name, s_LN in with_atoms(scores).items()}
    if joint_LNK.shape[1] > _MOST_POINTS and joint_LNK.shape[2] > 2:
        return errors, {}
    ratio_L = _kink_ratio(joint_LNK, vision_LNK, language_LNK, w_LN, scores["union"], errors["union"])
    return errors, {"kink_ratio": ratio_L, "nonregular": (ratio_L > NONREGULAR_AT).double()}


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


def _kink_ratio(
    joint_LNK: Tensor, vision_LNK: Tensor, language_LNK: Tensor, w_LN: Tensor, score_LN: Tensor, error_L: Tensor
) -> Tensor:
    """As :func:`fusionscope.pid.inference.kink_ratio`, for resampled samples, tilted anew."""
    n = joint_LNK.shape[1]
    draws = max(2, round(RESAMPLED_SHARE * n))
    whole_LK = (joint_LNK * w_LN[..., None]).sum(1)
    generator = torch.Generator().manual_seed(n)
    excess = []
    for _ in range(_REPLICATES):
        counts = torch.bincount(torch.randint(n, (draws,), generator=generator), minlength=n).to(w_LN)
        kept = counts.nonzero()[:, 0]
        w = w_LN[:, kept] * counts[kept]
        w = w / w.sum(1, keepdim=True)
        py_LK = (joint_LNK[:, kept] * w[..., None]).sum(1)
        p1, p2 = (tilt(p[:, kept], w, py_LK)[0] * w[..., None] for p in (vision_LNK, language_LNK))
        union_L = solve_union(*consistent_masses(p1, p2), _TOLERANCE).value_L
        concave_L = (py_LK * log_ratio(py_LK, whole_LK)).sum(1)  # of H(Y), which has no kink
        excess.append(NATS_TO_BITS * (union_L - (w * score_LN[:, kept]).sum(1) + concave_L))
    return in_standard_errors(torch.stack(excess), error_L)
