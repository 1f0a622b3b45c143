"""Images covered, or in each other's place."""

from dataclasses import replace
from functools import partial

import torch
from PIL import Image

from fusionscope.errors import InputError
from fusionscope.tasks.sources.lazy import LazyImages
from fusionscope.tasks.task import HeldOutTask

_GREY = (128, 128, 128)


def occlude(task: HeldOutTask, fraction: float = 1.0) -> HeldOutTask:
    """A grey rectangle in the middle of every image.

    Args:
        task: The task.
        fraction: Of the area, in (0, 1]; 1 hides the image.

    Raises:
        InputError: Another fraction.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction={fraction!r}", "it is the covered part of the area", "use a number in (0, 1]")
    return replace(
        task,
        name=f"{task.name}+occluded",
        images=LazyImages.of(task.images).map(partial(_covered, fraction=fraction), f"occlude(fraction={fraction!r})"),
        image_ids=[f"occluded-{fraction:g}-{name}" for name in task.image_ids],
    )


def shuffle_images(task: HeldOutTask, seed: int = 0) -> HeldOutTask:
    """Every image stands where another one stood; questions and right answers stay.

    Args:
        task: The task.
        seed: Seed of the order.

    Raises:
        InputError: A task of one image.
    """
    n = len(task.images)
    if n < 2:
        raise InputError(f"task {task.name!r} with {n} image", "there is no other one to take its place", "add images")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    moved = other.tolist()
    return replace(
        task,
        name=f"{task.name}+shuffled images",
        images=LazyImages.of(task.images).select(moved),
        image_ids=[task.image_ids[i] for i in moved],
    )


def _covered(image: Image.Image, fraction: float) -> Image.Image:
    width, height = (round(side * fraction**0.5) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    right, bottom = (image.width + width) // 2, (image.height + height) // 2
    changed = image.copy()
    changed.paste(_GREY, (left, top, right, bottom))
    return changed
