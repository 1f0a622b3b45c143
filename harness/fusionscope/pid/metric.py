"""A torchmetrics metric on streams of posteriors.

Legend: N samples of an update, K answers; leading dimensions are layers.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from fusionscope.errors import InputError
from fusionscope.pid.estimators.register import get_estimator
from fusionscope.pid.estimators.sample import PairSample
from fusionscope.pid.validate import check_same_shape, check_simplex

__all__ = ["PartialInformationDecomposition"]


class PartialInformationDecomposition(Metric):
    """Redundancy, unique and synergistic information, in bits, of all posteriors since the last reset.

    The union information is not a mean over samples, so every sample's posteriors are kept (3 K + 1 numbers a
    layer), and gathered from all processes when computed: ranks may hold different numbers of samples, or
    none. A distributed sampler that pads the evaluation set repeats samples: give the repeats weight 0.

    Args:
        estimator: Name of an estimator of pairs that needs no features.
        estimator_options: Its options, as of :func:`fusionscope.pid.estimators.get_estimator`.
        standard_errors: Whether to compute standard errors.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        UnknownNameError: An estimator that is not registered.
        ConfigError: One that needs features or a grid, or an option that it does not take.
        InputError: An option out of its range.

    Example:
        >>> metric = PartialInformationDecomposition()
        >>> certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> metric.update(certain, vision=certain, language=torch.full((2, 2), 0.5))
        >>> metric.update(certain, vision=certain, language=torch.full((2, 2), 0.5))
        >>> round(float(metric.compute()["unique_vision"]), 4)
        1.0
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    stream: list[Tensor] | Tensor

    def __init__(
        self,
        estimator: str = "exact",
        estimator_options: Mapping[str, Any] | None = None,
        standard_errors: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # Checked before the samples come: an error at the end would lose them.
        self.estimator = get_estimator(estimator, **(estimator_options or {}))
        self.estimator.check_usable(PairSample)
        self.standard_errors = standard_errors
        # One flat float64 stream of self-describing records: a rank without samples takes part in the
        # gathering with nothing (torchmetrics makes it one-dimensional and of the metric's dtype).
        self.set_dtype(torch.float64)
        self.add_state("stream", default=[], dist_reduce_fx="cat")

    def update(self, joint: Tensor, vision: Tensor, language: Tensor, weights: Tensor | None = None) -> None:
        """Add samples.

        Args:
            joint: p(y|x1,x2), [..., N, K].
            vision: p(y|x1), [..., N, K].
            language: p(y|x2), [..., N, K].
            weights: One a sample, [N], non-negative, in any unit; 1 each by default.

        Raises:
            InputError: Not distributions, or shapes that do not match each other.
        """
        named = (("joint", joint), ("vision", vision), ("language", language))
        checked = [check_simplex(name, x, 1, 2).detach() for name, x in named]
        check_same_shape(*named)
        p = torch.stack(checked)
        if weights is None:
            weights = p.new_ones(joint.shape[-2])
        _check_weights(weights, joint.shape[-2])
        header = p.new_tensor([joint.ndim, *joint.shape])
        assert not isinstance(self.stream, Tensor)  # noqa: S101
        self.stream.append(torch.cat([header, weights.to(p).flatten(), p.flatten()]))

    def compute(self) -> dict[str, Tensor]:
        """The decomposition of all samples of all processes.

        Returns:
            By name, in bits: the four atoms, `total`, `information_vision`, `information_language`, the
            certified `union_lower` and `union_upper`, `converged`, and `standard_error_<atom>` where
            requested.

        Raises:
            InputError: No samples, or updates with different layers or answers; on every rank alike.
        """
        weights, (joint, vision, language) = _parse(self.stream)
        if not bool(weights.sum() > 0):
            raise InputError("all weights are zero", "no sample counts", "give some sample a weight above 0")
        sample = PairSample(joint=joint, vision=vision, language=language, weights=weights / weights.sum())
        result = self.estimator.decompose(sample, standard_errors=self.standard_errors)
        fields = ("total", "information_vision", "information_language", "union_lower", "union_upper", "converged")
        errors = {f"standard_error_{name}": error for name, error in result.standard_errors.items()}
        return result.atoms() | {field: getattr(result, field) for field in fields} | errors


def _check_weights(weights: Tensor, n_samples: int) -> None:
    if not isinstance(weights, Tensor) or weights.shape != (n_samples,):
        got = f"has shape {tuple(weights.shape)}" if isinstance(weights, Tensor) else f"is a {type(weights).__name__}"
        raise InputError(f"weights {got}", f"there are {n_samples} samples", "pass a tensor of one weight a sample")
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise InputError(
            "weights holds a negative number, an infinity or a NaN", "weights count samples", "fix the weights"
        )


def _parse(stream: list[Tensor] | Tensor) -> tuple[Tensor, Tensor]:
    """Weights [N] and the three posteriors [3, ..., N, K] from the records of all updates."""
    flat = dim_zero_cat(stream) if len(stream) else torch.zeros(0)
    weights, posteriors = [], []
    start = 0
    while start < flat.numel():
        n_dims = int(flat[start])
        shape = [int(size) for size in flat[start + 1 : start + 1 + n_dims]]
        first, size = start + 1 + n_dims, 3 * torch.Size(shape).numel()
        middle = first + shape[-2]
        weights.append(flat[first:middle])
        posteriors.append(flat[middle : middle + size].reshape(3, *shape))
        start = middle + size
    if not posteriors:
        raise InputError("no samples", "every process had none", "call update() before compute()")
    shapes = {(*p.shape[1:-2], p.shape[-1]) for p in posteriors}
    if len(shapes) > 1:
        raise InputError(
            f"updates of layers and answers {sorted(shapes)}",
            "all samples must have the same layers and answers",
            "use one metric per task",
        )
    return torch.cat(weights), torch.cat(posteriors, dim=-2)
