"""An estimator from outside: the decomposition of Williams and Beer, of grids and of pairs."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.pid import PIDResult
from fusionscope.pid.estimators import Estimator, GridSample, PairSample, Sample

_NATS_TO_BITS = 1 / torch.log(torch.tensor(2.0, dtype=torch.float64)).item()


@dataclass(frozen=True, kw_only=True)
class SpecificInformation(Estimator[Sample]):
    """Redundancy is, of every answer, the smaller specific information of either source.

    Args:
        max_mismatch: Pairs: total variation between a source's answer marginal and that of the joint posteriors beyond
            which the atoms are NaN.

    Raises:
        InputError: A `max_mismatch` outside of 0 to 1.

    Reference:
        Williams, Beer (2010), Nonnegative decomposition of multivariate information, arXiv 1004.2515.
    """

    name: ClassVar[str] = "specific_information"
    takes: ClassVar[tuple[type[Sample], ...]] = (GridSample, PairSample)

    max_mismatch: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.max_mismatch <= 1:
            raise InputError(f"max_mismatch={self.max_mismatch!r}", "it is a total variation, 0 to 1", "pass 0.1")

    @property
    def sentence(self) -> str:
        return "The decomposition is that of Williams and Beer (2010): redundancy by specific information."

    def decompose(self, sample: Sample, *, standard_errors: bool = False) -> PIDResult:
        self.check_sample(sample)
        joint_LNK, vision_LNK, language_LNK = _masses(sample)
        py_LK = joint_LNK.sum(1)
        mismatch_L = torch.stack([0.5 * (p.sum(1) - py_LK).abs().sum(1) for p in (vision_LNK, language_LNK)]).amax(0)
        solved_L = mismatch_L <= self.max_mismatch
        vision, language, total = (_specific(p, py_LK) for p in (vision_LNK, language_LNK, joint_LNK))
        redundancy = torch.minimum(vision, language).sum(1)
        vision, language, total = (x.sum(1) for x in (vision, language, total))
        atoms = {
            "redundancy": redundancy,
            "unique_vision": vision - redundancy,
            "unique_language": language - redundancy,
            "synergy": total - vision - language + redundancy,
        }
        unknown = torch.full_like(total, torch.nan)
        return PIDResult(
            **{name: torch.where(solved_L, bits, torch.nan) for name, bits in atoms.items()},
            total=total,
            information_vision=vision,
            information_language=language,
            union_lower=unknown,
            union_upper=unknown,
            converged=solved_L,
            n=joint_LNK.shape[1],
            estimator=self.name,
            diagnostics={"marginal_mismatch": mismatch_L},
        ).reshaped(sample.leading)


def _masses(sample: Sample) -> tuple[Tensor, Tensor, Tensor]:
    """Joint masses of pairs, of images and of questions with the answer, [L, N, K] each."""
    if isinstance(sample, GridSample):
        p_LABK, w_LAB = sample.flat()
        joint = p_LABK * w_LAB[..., None]
        return joint.flatten(1, 2), joint.sum(2), joint.sum(1)
    joint, vision, language, w_LN = sample.flat()
    return tuple(p * w_LN[..., None] for p in (joint, vision, language))  # type: ignore[return-value]


def _specific(p_LNK: Tensor, py_LK: Tensor) -> Tensor:
    """``p(y)`` times the information about each answer, bits [L, K]."""
    ratio = p_LNK / (p_LNK.sum(2, keepdim=True) * py_LK[:, None]).clamp(min=1e-300)
    return _NATS_TO_BITS * torch.xlogy(p_LNK, ratio).sum(1)
