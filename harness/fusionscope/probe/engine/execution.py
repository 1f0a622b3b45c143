"""How a probe is run: none of it changes a number by more than rounding."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.lvlm import FeatureCache, PaddingSide

Progress = Callable[[int, int], None]
"""Called with the number of sequences done and their total."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How the passes of a probe are run.

    Args:
        batch_size: Sequences per pass; None finds it. Out of memory halves it either way.
        feature_cache: Vision features kept between calls while the tower's weights stay the same.
        progress: True for a bar, or a callable that is given (sequences done, total).
        share_prefix: Use one prefix cache per image where that is exact.
        padding_side: Where rows are padded.
        model_fingerprint: Hash of the model's weights where the caller knows it, so that it is not computed again.

    Raises:
        UnknownNameError: No such padding side.
        InputError: A batch size below 1.
    """

    batch_size: int | None = None
    feature_cache: FeatureCache | None = None
    progress: Progress | bool | None = None
    share_prefix: bool = True
    padding_side: PaddingSide = "right"
    model_fingerprint: str | None = None

    def __post_init__(self) -> None:
        if self.padding_side not in get_args(PaddingSide):
            raise UnknownNameError(
                f"padding_side {self.padding_side!r}",
                f"known are {', '.join(get_args(PaddingSide))}",
                "use one of them",
            )
        size = self.batch_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise InputError(f"batch_size={size!r}", "a pass takes at least one sequence", "use 1 or more, or None")

    def of_model(self, fingerprint: str) -> "Execution":
        """The same for a model whose weights have this hash."""
        return replace(self, model_fingerprint=fingerprint)
