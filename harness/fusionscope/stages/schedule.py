"""Learning rates: linear warm-up, then a cosine to a fraction of the peak."""

import math

from fusionscope.errors import ConfigError


def check(ratio: float, steps: int | None, min_ratio: float) -> None:
    """Refuse values that are no fractions: a warm-up ratio of 3, meant as 3 %, would never reach the peak.

    Args:
        ratio: Warm-up as a fraction of the stage.
        steps: Warm-up in optimizer steps, or None.
        min_ratio: Fraction of the peak at the end.

    Raises:
        ConfigError: A fraction outside [0, 1], or a negative number of steps.
    """
    for name, fraction in (("warmup_ratio", ratio), ("min_lr_ratio", min_ratio)):
        if not 0 <= fraction <= 1:
            raise ConfigError(f"{name}={fraction}", "it is a fraction, from 0 to 1", "write 3 % as 0.03")
    if steps is not None and steps < 0:
        raise ConfigError(f"warmup_steps={steps}", "it is a number of optimizer steps", "set 0 for none")


def warmup_steps(total: int, ratio: float, steps: int | None) -> int:
    """How many optimizer steps the warm-up takes.

    Args:
        total: Optimizer steps of the stage.
        ratio: Fraction of the stage, used where ``steps`` is None; rounded up, as transformers' Trainer does.
        steps: The number itself.

    >>> warmup_steps(2181, 0.03, None)
    66
    """
    return math.ceil(total * ratio) if steps is None else steps


def cosine_factor(step: int, total: int, warmup: int, min_ratio: float) -> float:
    """Learning rate as a fraction of the peak.

    Args:
        step: Optimizer steps done, 0 before the first.
        total: Optimizer steps of the stage.
        warmup: Steps of linear warm-up from 0.
        min_ratio: Fraction of the peak at the end.

    >>> [round(cosine_factor(step, 100, 10, 0.1), 3) for step in (0, 5, 10, 55, 100)]
    [0.0, 0.5, 1.0, 0.55, 0.1]
    """
    if step < warmup:
        return step / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))
