"""Images that cannot be read: counted, named, and left out up to a maximum number."""

import warnings
from collections.abc import Mapping
from dataclasses import replace

import torch

from fusionscope.errors import BadImageError, DataError
from fusionscope.tasks.sources.lazy import LazyImages
from fusionscope.tasks.task import HeldOutTask

UNREADABLE = "images that cannot be read"
"""The reason under which `HeldOutTask.dropped` counts them."""
_NAMED = 5


def without_unreadable(task: HeldOutTask, max_bad_images: int) -> HeldOutTask:
    """The task without images that cannot be read; see `without_images`.

    Args:
        task: The task. All of its images are opened, once however often this is asked.
        max_bad_images: Maximum number of images that may be left out.

    Raises:
        DataError: More cannot be read, or a weighting would lose all its pairs.
    """
    return without_images(task, LazyImages.of(task.images).unreadable(), max_bad_images, "cannot be read")


def without_images(
    task: HeldOutTask, bad: Mapping[int, BadImageError], max_bad_images: int, reason: str
) -> HeldOutTask:
    """The task without some of its images, which are named in a warning; weights are scaled to sum to 1 again.

    Args:
        task: The task.
        bad: Indices of the images, and why each is left out.
        max_bad_images: Maximum number of images that may be left out.
        reason: Completes "images that ...".

    Raises:
        DataError: There are more, or a weighting would lose all its pairs.
    """
    if not bad:
        return task
    names = ", ".join(task.image_ids[i] for i in list(bad)[:_NAMED]) + (", ..." if len(bad) > _NAMED else "")
    if len(bad) > max_bad_images or len(bad) == len(task.images):
        raise DataError(
            f"{len(bad)} of {len(task.images)} images of task {task.name!r} {reason}: {names}",
            f"max_bad_images allows {max_bad_images}; the first: {next(iter(bad.values())).what}",
            "restore the files, or allow as many with max_bad_images=",
        )
    warnings.warn(f"task {task.name!r}: {len(bad)} images {reason} and are left out: {names}", stacklevel=3)
    kept = [i for i in range(len(task.images)) if i not in bad]
    return _keep(task, kept, {f"images that {reason}": len(bad)})


def _keep(task: HeldOutTask, kept: list[int], lost: Mapping[str, int]) -> HeldOutTask:
    place = torch.full((len(task.images),), -1)
    place[kept] = torch.arange(len(kept))
    here = place[task.pairs[:, 0]] >= 0
    pairs = task.pairs[here].clone()
    pairs[:, 0] = place[pairs[:, 0]]
    weights = {name: value[kept] for name, value in task.pair_weights.items()}
    if (len(task.pairs) and not len(pairs)) or any(float(value.sum()) <= 0 for value in weights.values()):
        raise DataError(f"task {task.name!r}", "no pair is left without these images", "restore the files")
    return replace(
        task,
        images=LazyImages.of(task.images).select(kept),
        image_ids=[task.image_ids[i] for i in kept],
        pairs=pairs,
        pair_answers=task.pair_answers[here],
        row_laws={name: law.select(here) for name, law in task.row_laws.items()},
        truth=None if task.truth is None else task.truth[kept],
        pair_weights={name: value / value.sum() for name, value in weights.items()},
        images_enumerated=False,
        images_balanced=False,
        dropped={**task.dropped, **lost},
    )
