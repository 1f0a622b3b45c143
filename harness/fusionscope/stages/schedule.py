"""Learning rates: linear warm-up, then a cosine to a share of the peak."""

import math


def warmup_steps(total: int, ratio: float, steps: int | None) -> int:
    """How many optimizer steps the warm-up takes.

    Args:
        total: Optimizer steps of the stage.
        ratio: Share of the stage, used where ``steps`` is None; rounded up, as transformers' Trainer does.
        steps: The number itself.

    >>> warmup_steps(2181, 0.03, None)
    66
    """
    return math.ceil(total * ratio) if steps is None else steps


def cosine_factor(step: int, total: int, warmup: int, min_ratio: float) -> float:
    """Learning rate as a share of the peak.

    Args:
        step: Optimizer steps done, 0 before the first.
        total: Optimizer steps of the stage.
        warmup: Steps of linear warm-up from 0.
        min_ratio: Share of the peak at the end.

    >>> [round(cosine_factor(step, 100, 10, 0.1), 3) for step in (0, 5, 10, 55, 100)]
    [0.0, 0.5, 1.0, 0.55, 0.1]
    """
    if step < warmup:
        return step / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))
