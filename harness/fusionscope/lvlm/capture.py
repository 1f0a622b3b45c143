"""Hidden states at chosen positions of chosen layers, through hooks that always come off."""

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn


class Capture:
    """While entered, keeps [N, R, D] hidden states of each wanted layer at the positions that were asked for.

    Args:
        layers: The decoder layers.
        wanted: Layer numbers: 0 is the input of the first layer, i the output of the i-th.
        columns: int64 [N, R], the positions to keep of every row.
    """

    def __init__(self, layers: Sequence[nn.Module], wanted: Sequence[int], columns: Tensor) -> None:
        self.layers, self.wanted, self.columns = layers, wanted, columns
        self.hidden: dict[int, Tensor] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for number in set(self.wanted):
            if number == 0:
                handle = self.layers[0].register_forward_pre_hook(self._before_first, with_kwargs=True)
            else:
                handle = self.layers[number - 1].register_forward_hook(self._after(number))
            self._stack.callback(handle.remove)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _before_first(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._keep(0, args[0] if args else kwargs["hidden_states"])

    def _after(self, number: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._keep(number, output[0] if isinstance(output, tuple) else output)

        return hook

    def _keep(self, number: int, hidden: Tensor) -> None:
        columns = self.columns.to(hidden.device)
        rows = torch.arange(hidden.shape[0], device=hidden.device)
        self.hidden[number] = hidden[rows[:, None], columns]
