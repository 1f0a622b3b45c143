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
        columns: int64 [N, R], the positions to keep of every row; None keeps all.
        may_skip: The model may leave layers out; their output is then their input.
    """

    def __init__(
        self, layers: Sequence[nn.Module], wanted: Sequence[int], columns: Tensor | None, may_skip: bool = False
    ) -> None:
        self.layers = layers
        self.columns = columns
        self.may_skip = may_skip
        self.wanted = range(max(wanted) + 1) if may_skip else sorted(set(wanted))
        self.hidden: dict[int, Tensor] = {}
        self._places: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for number in self.wanted:
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
        if self.may_skip and kind is None:
            for number in self.wanted[1:]:
                self.hidden.setdefault(number, self.hidden[number - 1])

    def _before_first(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._keep(0, args[0] if args else kwargs["hidden_states"])

    def _after(self, number: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._keep(number, output[0] if isinstance(output, tuple) else output)

        return hook

    def _keep(self, number: int, hidden: Tensor) -> None:
        if self.columns is None:
            self.hidden[number] = hidden
            return
        if hidden.device not in self._places:
            # Once per device: a copy in every layer would synchronise CPU and GPU in every layer.
            rows = torch.arange(hidden.shape[0], device=hidden.device)
            self._places[hidden.device] = rows[:, None], self.columns.to(hidden.device)
        self.hidden[number] = hidden[self._places[hidden.device]]
