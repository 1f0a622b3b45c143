"""When something happens during training, counted in optimizer steps of the stage."""

import math
from dataclasses import dataclass

from fusionscope.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Steps at which to act: dense early, then even.

    Args:
        every_n_steps: Act at every multiple of this many optimizer steps; 0 for never.
        log_spaced: Act at 1, r, r^2, ... steps (rounded up) while below ``every_n_steps``, with this ratio r > 1 (2.0
            doubles each time); 0 for never.
        at_start: Act before the first step of the stage.
        at_end: Act after its last step.
        at_checkpoints: Act whenever any checkpoint is saved.

    Raises:
        ConfigError: A negative interval, a ratio in (0, 1], or a schedule that never acts.

    >>> [step for step in range(41) if Schedule(every_n_steps=20, log_spaced=2.0).due(step)]
    [1, 2, 4, 8, 16, 20, 40]
    """

    every_n_steps: int = 0
    log_spaced: float = 0.0
    at_start: bool = True
    at_end: bool = True
    at_checkpoints: bool = False

    def __post_init__(self) -> None:
        if self.every_n_steps < 0:
            raise ConfigError(
                f"schedule.every_n_steps={self.every_n_steps}",
                "an interval cannot be negative",
                "use 0 for never",
            )
        if self.log_spaced != 0 and not self.log_spaced > 1:
            raise ConfigError(
                f"schedule.log_spaced={self.log_spaced}",
                "it is the ratio between one step and the next, which must grow",
                "use a ratio above 1, such as 2.0, or 0 for never",
            )
        if not (self.every_n_steps or self.log_spaced or self.at_start or self.at_end or self.at_checkpoints):
            raise ConfigError("a schedule that never acts", "every way to act is off", "set every_n_steps, or at_end")

    def due(self, step: int) -> bool:
        """Whether to act after this many (> 0) optimizer steps of the stage."""
        if step <= 0:
            return False
        if self.every_n_steps and step % self.every_n_steps == 0:
            return True
        dense = self.log_spaced and (not self.every_n_steps or step < self.every_n_steps)
        return bool(dense) and _is_rounded_power(step, self.log_spaced)


def _is_rounded_power(step: int, ratio: float) -> bool:
    nearest = math.floor(math.log(step) / math.log(ratio))
    return any(math.ceil(ratio**k - 1e-9) == step for k in (nearest, nearest + 1) if k >= 0)
