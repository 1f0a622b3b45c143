"""The paper's arithmetic on marginals that disagree, solved exactly: for reproduction alone."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fusionscope.pid.estimators._pairs import Pairs, mismatch, solve_pairs, warn_of_unsolved, without_unsolved
from fusionscope.pid.estimators.base import Estimator
from fusionscope.pid.estimators.sample import PairSample, Sample
from fusionscope.pid.result import PIDResult
from fusionscope.pid.validate import check_tolerance


@dataclass(frozen=True, kw_only=True)
class FaithfulEstimator(Estimator[PairSample]):
    """Informations as cross entropies against the joint's marginal, a union over margins balanced per answer.

    Unimodal posteriors are kept as they are, though their answer marginals disagree. The atoms are those of no
    distribution; they sum to the total all the same, and have no standard errors. Where an answer has mass in the joint
    and none in a source, or the other way round, no scaling balances them and a cross entropy is infinite: unsolved,
    with a warning.

    Args:
        tolerance: As of `ExactEstimator`.

    Raises:
        InputError: A tolerance that is not positive.

    Reference:
        Xiu, Luo, Nakayama (2026), arXiv 2603.29676: what its stage 3 converges to.
    """

    name: ClassVar[str] = "faithful"
    takes: ClassVar[tuple[type[Sample], ...]] = (PairSample,)

    tolerance: float | None = None

    def __post_init__(self) -> None:
        if self.tolerance is not None:
            check_tolerance(self.tolerance)

    @property
    def sentence(self) -> str:
        return (
            "The decomposition keeps unimodal posteriors whose answer marginals disagree, as Xiu et al. (2026) do, and "
            "solves their problem exactly; its atoms are those of no distribution."
        )

    def decompose(self, sample: PairSample, *, standard_errors: bool = False) -> PIDResult:
        self.check_sample(sample)
        joint_LNK, vision_LNK, language_LNK, w_LN = sample.flat()
        pairs = Pairs(joint_LNK=joint_LNK, vision_LNK=vision_LNK, language_LNK=language_LNK, w_LN=w_LN)
        unsolved_L = 3.0 * _other_answers(pairs).double()
        warn_of_unsolved(unsolved_L)
        vision_mass, language_mass = (_balanced(p * w_LN[..., None], pairs.py_LK) for p in pairs.sources)
        result, _ = solve_pairs(pairs, (vision_mass, language_mass), unsolved_L, self.tolerance)
        result = replace(result, estimator=self.name, diagnostics={**result.diagnostics, **mismatch(pairs)})
        return without_unsolved(result).flagged_above(joint_LNK.shape[-1]).reshaped(sample.leading)


def _balanced(mass_LNK: Tensor, py_LK: Tensor) -> Tensor:
    """Masses scaled per answer to the marginal, as the paper's Sinkhorn leaves them."""
    sums_L1K = mass_LNK.sum(1, keepdim=True)
    fraction_LNK = torch.where(sums_L1K > 0, mass_LNK / torch.where(sums_L1K > 0, sums_L1K, 1.0), 0.0)
    return fraction_LNK * py_LK[:, None]


def _other_answers(pairs: Pairs) -> Tensor:
    """Whether an answer occurs in the joint and in no row of a source, or the other way round, bool [L]."""
    occurs = torch.stack([(p * pairs.w_LN[..., None]).sum(1) > 0 for p in pairs.sources])
    return (occurs != (pairs.py_LK > 0)).any(-1).any(0)
