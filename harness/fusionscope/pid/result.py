"""What every estimator returns."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

ATOMS = ("redundancy", "unique_vision", "unique_language", "synergy")
_TENSORS = (
    *ATOMS,
    "total",
    "information_vision",
    "information_language",
    "union_lower",
    "union_upper",
    "converged",
)


@dataclass(frozen=True, kw_only=True)
class PIDResult:
    """A partial information decomposition, in bits, signed.

    Only identified intervals, and atoms of `BatchEstimator(clip=True)`, are cut at 0.

    Args:
        redundancy: Information about the answer that is in either source, float64 [...].
        unique_vision: Information that is in vision alone, float64 [...].
        unique_language: Information that is in language alone, float64 [...].
        synergy: Information that is in both together alone, float64 [...].
        total: I(X1, X2; Y), float64 [...]; the four atoms sum to it, but where they were cut or are middles of
            intervals.
        information_vision: I(X1; Y), float64 [...].
        information_language: I(X2; Y), float64 [...].
        union_lower: Certified lower bound of the union information, float64 [...]; without bias correction.
        union_upper: Certified upper bound of the union information, float64 [...]; without bias correction.
        converged: Whether the bounds are as close as requested, bool [...]; of identified intervals, whether there
            are any.
        standard_errors: Standard error of each atom and of the informations, by name; empty where none were requested.
        identified: Ends, by name, of what the data identify of the atoms and informations, with sampling error
            at 95 % included, float64 [...] each; empty where posteriors identify a point. The atoms are then NaN where
            the interval is wide.
        n: How many samples, or pairs of the crossed design, the estimate rests on.
        estimator: The name of the estimator.
        diagnostics: Named tensors whose leading dimensions are those of the atoms.

    Example:
        >>> from fusionscope.pid import gates, pid_from_joint
        >>> result = pid_from_joint(gates.gate("xor").joint)
        >>> round(float(result.synergy), 6)
        1.0
    """

    redundancy: Tensor
    unique_vision: Tensor
    unique_language: Tensor
    synergy: Tensor
    total: Tensor
    information_vision: Tensor
    information_language: Tensor
    union_lower: Tensor
    union_upper: Tensor
    converged: Tensor
    standard_errors: Mapping[str, Tensor] = field(default_factory=dict)
    identified: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    n: int = 0
    estimator: str = "exact"
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)

    def atoms(self) -> dict[str, Tensor]:
        """The four atoms by name, in bits."""
        return {name: getattr(self, name) for name in ATOMS}

    def flagged_above(self, n_answers: int) -> "PIDResult":
        """The result with the diagnostic ``above_log2_k``: 1 where the total exceeds what K answers can hold.

        A total over log2 K is no finding: a bias correction that overshot, or marginals that disagree.
        """
        above = (self.total.detach() > math.log2(n_answers) + 1e-9).double()
        return replace(self, diagnostics={**self.diagnostics, "above_log2_k": above})

    def __getitem__(self, index: Any) -> "PIDResult":
        """The result of some of the leading dimensions (layers, bootstraps)."""
        return self.map(lambda tensor: tensor[index])

    def reshaped(self, shape: Sequence[int]) -> "PIDResult":
        """The same result with its one leading dimension unflattened to ``shape``."""
        return self.map(lambda tensor: tensor.reshape((*shape, *tensor.shape[1:])))

    def map(self, function: Callable[[Tensor], Tensor]) -> "PIDResult":
        """The result with a function applied to every tensor (``lambda t: t.cpu()``)."""

        def each(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: function(tensor) for name, tensor in tensors.items()}

        changed: dict[str, Any] = dict(each({name: getattr(self, name) for name in _TENSORS}))
        ends = {name: (function(low), function(high)) for name, (low, high) in self.identified.items()}
        changed |= {
            "identified": ends,
            "standard_errors": each(self.standard_errors),
            "diagnostics": each(self.diagnostics),
        }
        return replace(self, **changed)
