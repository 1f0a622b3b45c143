"""The exact estimator: the convex problem of Bertschinger et al., solved with a certificate."""

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from fusionscope.pid.estimators._grid import Grid, decompose_grid
from fusionscope.pid.estimators._pairs import Pairs, mismatch, solve_pairs, without_unsolved
from fusionscope.pid.estimators.base import Estimator
from fusionscope.pid.estimators.sample import GridSample, PairSample, RowSample, Sample
from fusionscope.pid.identified import QUANTITIES, identified_pid
from fusionscope.pid.joint import TOLERANCE_BITS
from fusionscope.pid.result import ATOMS, PIDResult
from fusionscope.pid.tilt import tilt
from fusionscope.pid.uncertainty.clusters import partitions
from fusionscope.pid.uncertainty.sample_influence import sample_uncertainty
from fusionscope.pid.validate import check_fraction, check_tolerance


@dataclass(frozen=True, kw_only=True)
class ExactEstimator(Estimator[Sample]):
    """Exact decomposition of grids and pairs; of rows, the interval of all decompositions that they do not rule out.

    The decomposition depends on the sources only through their posteriors, which are sufficient for the answer, so no
    features are needed. On a grid p(y|a) and p(y|b) are weighted means, consistent by construction. Of pairs the
    answer's marginal is that of the joint posteriors; unimodal posteriors whose marginal is another are moved to the
    nearest consistent ones, or left unsolved.

    Args:
        max_tilt: Pairs: the mean total variation that the move may change posteriors by; beyond it, or where there is
            none (one-hot rows), the atoms are NaN and the diagnostic ``unsolved`` says why.
        max_width: Rows: an estimate is given where the interval is at most this wide, bits; NaN elsewhere.
        bias_correction: Grids: subtract the first-order plug-in bias of the axes that are random samples.
        tolerance: Grids and pairs: certified width of the union information, bits; None for 1e-6, or .02 of pairs with
            more than two answers and more than 64 different posteriors of a source.

    Raises:
        InputError: An option out of its range.

    Reference:
        Bertschinger, Rauh, Olbrich, Jost, Ay (2014), Quantifying unique information, eq. 2 to 5.
    """

    name: ClassVar[str] = "exact"
    takes: ClassVar[tuple[type[Sample], ...]] = (GridSample, PairSample, RowSample)
    gives_standard_errors: ClassVar[bool] = True

    max_tilt: float = 0.1
    bias_correction: bool = True
    max_width: float = 0.05
    tolerance: float | None = None

    def __post_init__(self) -> None:
        check_fraction("max_tilt", self.max_tilt, zero=True, top=True)
        check_fraction("max_width", self.max_width, most=math.inf, zero=True, top=True)
        if self.tolerance is not None:
            check_tolerance(self.tolerance)

    @property
    def sentence(self) -> str:
        return (
            "The decomposition is the exact one of Bertschinger et al. (2014), a convex problem solved with a "
            "certificate."
        )

    def decompose(self, sample: Sample, *, standard_errors: bool = False) -> PIDResult:
        self.check_sample(sample)
        match sample:
            case GridSample():
                return self._grid(sample, standard_errors)
            case PairSample():
                return self._pairs(sample, standard_errors)
            case RowSample():
                return self._rows(sample)

    def _rows(self, sample: RowSample) -> PIDResult:
        found = identified_pid(
            sample.joint,
            sample.images,
            sample.questions,
            law=sample.law,
            strata=sample.strata,
            questions_available=sample.questions_available,
            images_available=sample.images_available,
            images_total=sample.images_total,
            questions_enumerated=sample.questions_enumerated,
            max_width=self.max_width,
        )
        names = (*ATOMS, "total", "information_vision", "information_language")
        for reason in found.reasons:
            warnings.warn(reason, RuntimeWarning, stacklevel=3)
        estimates: dict[str, Any] = {name: found.estimate[name] for name in names}
        return PIDResult(
            **estimates,
            union_lower=found.lower["union"],
            union_upper=found.upper["union"],
            converged=torch.isfinite(found.lower["synergy"]),
            identified={name: (found.lower[name], found.upper[name]) for name in QUANTITIES},
            n=found.n,
            estimator=self.name,
            diagnostics={
                **found.diagnostics,
                "questions_per_image": torch.full_like(found.lower["total"], found.questions_per_image),
                "images_per_question": torch.full_like(found.lower["total"], found.images_per_question),
            },
        )

    def _grid(self, sample: GridSample, with_errors: bool) -> PIDResult:
        p_LABK, w_LAB = sample.flat()
        result = decompose_grid(
            Grid(p_LABK=p_LABK, w_LAB=w_LAB, sampled=sample.sampled, random=sample.random),
            self.tolerance or TOLERANCE_BITS,
            correct=self.bias_correction,
            with_errors=with_errors,
        )
        return result.flagged_above(p_LABK.shape[-1]).reshaped(sample.leading)

    def _pairs(self, sample: PairSample, with_errors: bool) -> PIDResult:
        joint_LNK, vision_LNK, language_LNK, w_LN = sample.flat()
        pairs = Pairs(joint_LNK=joint_LNK, vision_LNK=vision_LNK, language_LNK=language_LNK, w_LN=w_LN)
        vision_LNK, vision_change, vision_solved = tilt(vision_LNK, w_LN, pairs.py_LK)
        language_LNK, language_change, language_solved = tilt(language_LNK, w_LN, pairs.py_LK)
        over_L = (torch.maximum(vision_change, language_change) > self.max_tilt).double()
        unsolved_L = torch.where(vision_solved & language_solved, 2 * over_L, torch.ones_like(over_L))
        tilted = replace(pairs, vision_LNK=vision_LNK, language_LNK=language_LNK)
        masses = (vision_LNK * w_LN[..., None], language_LNK * w_LN[..., None])
        result, union = solve_pairs(tilted, masses, unsolved_L, self.tolerance)
        changes = {"tilt_change_vision": vision_change, "tilt_change_language": language_change}
        diagnostics = {**result.diagnostics, **mismatch(pairs), **changes}
        errors: dict[str, Tensor] = {}
        if with_errors:
            with torch.no_grad():
                atoms = {name: x.detach() for name, x in result.atoms().items()}
                by = partitions(*sample.clusters(), sample.sampled)
                errors, judged = sample_uncertainty(joint_LNK, vision_LNK, language_LNK, w_LN, union, atoms, by)
            diagnostics |= judged
        result = replace(result, standard_errors=errors, diagnostics=diagnostics)
        return without_unsolved(result).flagged_above(joint_LNK.shape[-1]).reshaped(sample.leading)
