"""Pictures that cannot be opened: counted, named, and only so many of them."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from fusionscope.errors import DataError
from fusionscope.tasks import HeldOutTask

NAMED = 5


def without_damaged(task: HeldOutTask, allowed: int) -> HeldOutTask:
    """The task without pictures that do not open; weights are scaled to sum to 1 again.

    Args:
        task: The task.
        allowed: How many pictures may be left out.

    Raises:
        DataError: More do not open, or a weighting would lose all its pairs.
    """
    bad = [i for i in range(len(task.images)) if not _opens(task.images, i)]
    if not bad:
        return task
    names = ", ".join(task.image_ids[i] for i in bad[:NAMED]) + (", ..." if len(bad) > NAMED else "")
    if len(bad) > allowed or len(bad) == len(task.images):
        raise DataError(
            f"{len(bad)} of {len(task.images)} pictures of task {task.name!r} do not open: {names}",
            f"max_bad_images allows {allowed}",
            "restore the files, or allow as many with max_bad_images=",
        )
    warnings.warn(f"task {task.name!r}: {len(bad)} pictures do not open and are left out: {names}", stacklevel=3)
    return _keep(task, [i for i in range(len(task.images)) if i not in set(bad)], len(bad))


def _opens(images: Sequence[Any], index: int) -> bool:
    try:
        images[index]
    except (OSError, DataError):
        return False
    return True


class _Kept(Sequence[Any]):
    """Some of the pictures, opened when they are looked at."""

    def __init__(self, images: Sequence[Any], kept: Sequence[int]) -> None:
        self.images, self.kept = images, kept

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: Any) -> Any:
        return self.images[self.kept[index]]


def _keep(task: HeldOutTask, kept: list[int], lost: int) -> HeldOutTask:
    place = torch.full((len(task.images),), -1)
    place[kept] = torch.arange(len(kept))
    here = place[task.pairs[:, 0]] >= 0
    pairs = task.pairs[here].clone()
    pairs[:, 0] = place[pairs[:, 0]]
    weights = {name: value[kept] for name, value in task.pair_weights.items()}
    if not len(pairs) or any(float(value.sum()) <= 0 for value in weights.values()):
        raise DataError(f"task {task.name!r}", "no pair is left without its damaged pictures", "restore the files")
    return replace(
        task,
        images=_Kept(task.images, kept),
        image_ids=[task.image_ids[i] for i in kept],
        pairs=pairs,
        pair_answers=task.pair_answers[here],
        truth=None if task.truth is None else task.truth[kept],
        pair_weights={name: value / value.sum() for name, value in weights.items()},
        images_enumerated=False,
        dropped={**task.dropped, "picture does not open": lost},
    )
