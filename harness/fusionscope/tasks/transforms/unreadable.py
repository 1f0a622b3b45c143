"""Images that cannot be read: counted, named, and left out up to a maximum number."""

import warnings
from dataclasses import replace

import torch

from fusionscope.errors import DataError
from fusionscope.tasks.sources.lazy import LazyImages
from fusionscope.tasks.task import HeldOutTask

_NAMED = 5


def without_unreadable(task: HeldOutTask, max_bad_images: int) -> HeldOutTask:
    """The task without images that cannot be read; weights are scaled to sum to 1 again.

    Args:
        task: The task. All of its images are opened, once however often this is asked.
        max_bad_images: Maximum number of images that may be left out.

    Raises:
        DataError: More cannot be read, or a weighting would lose all its pairs.
    """
    images = LazyImages.of(task.images)
    bad = sorted(images.unreadable())
    if not bad:
        return task
    names = ", ".join(task.image_ids[i] for i in bad[:_NAMED]) + (", ..." if len(bad) > _NAMED else "")
    if len(bad) > max_bad_images or len(bad) == len(images):
        raise DataError(
            f"{len(bad)} of {len(images)} images of task {task.name!r} cannot be read: {names}",
            f"max_bad_images allows {max_bad_images}",
            "restore the files, or allow as many with max_bad_images=",
        )
    warnings.warn(f"task {task.name!r}: {len(bad)} images cannot be read and are left out: {names}", stacklevel=3)
    return _keep(task, [i for i in range(len(images)) if i not in set(bad)], len(bad))


def _keep(task: HeldOutTask, kept: list[int], lost: int) -> HeldOutTask:
    place = torch.full((len(task.images),), -1)
    place[kept] = torch.arange(len(kept))
    here = place[task.pairs[:, 0]] >= 0
    pairs = task.pairs[here].clone()
    pairs[:, 0] = place[pairs[:, 0]]
    weights = {name: value[kept] for name, value in task.pair_weights.items()}
    if not len(pairs) or any(float(value.sum()) <= 0 for value in weights.values()):
        raise DataError(f"task {task.name!r}", "no pair is left without its unreadable images", "restore the files")
    return replace(
        task,
        images=LazyImages.of(task.images).select(kept),
        image_ids=[task.image_ids[i] for i in kept],
        pairs=pairs,
        pair_answers=task.pair_answers[here],
        truth=None if task.truth is None else task.truth[kept],
        pair_weights={name: value / value.sum() for name, value in weights.items()},
        images_enumerated=False,
        images_balanced=False,
        dropped={**task.dropped, "images that cannot be read": lost},
    )
