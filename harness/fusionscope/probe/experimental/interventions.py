"""Interventions: a task with something taken away, so that atoms and accuracy can be compared before and after.

Each returns a task of its own name, with image ids of their own (so that cached vision features are not confused).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.lvlm import LVLM
from fusionscope.probe.designs.noise import seed_of
from fusionscope.probe.posteriors import ProbeResult
from fusionscope.probe.probe import probe
from fusionscope.tasks import HeldOutTask, Question


class _Changed(Sequence[Any]):
    """Pictures changed when they are looked at."""

    def __init__(self, images: Sequence[Any], change: Callable[[Any], Any]) -> None:
        self.images, self.change = images, change

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        return self.change(self.images[index])

    def __iter__(self) -> Iterator[Any]:
        return (self.change(self.images[i]) for i in range(len(self.images)))


def occlude(task: HeldOutTask, share: float = 1.0) -> HeldOutTask:
    """A grey rectangle in the middle of every picture.

    Args:
        task: The task.
        share: Of the area, in (0, 1]; 1 hides the picture.

    Raises:
        InputError: Another share.
    """
    if not 0 < share <= 1:
        raise InputError(f"share={share!r}", "it is the covered part of the area", "use a number in (0, 1]")

    def cover(picture: Image.Image) -> Image.Image:
        changed = picture.convert("RGB")
        width, height = (round(side * share**0.5) for side in picture.size)
        changed.paste((128, 128, 128), ((picture.width - width) // 2, (picture.height - height) // 2,
                                        (picture.width + width) // 2, (picture.height + height) // 2))  # fmt: skip
        return changed

    return replace(
        task,
        name=f"{task.name}+occluded",
        images=_Changed(task.images, cover),
        image_ids=[f"occluded-{share:g}-{name}" for name in task.image_ids],
    )


def shuffle_images(task: HeldOutTask, seed: int = 0) -> HeldOutTask:
    """Every picture stands where another one stood; questions and right answers stay."""
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
        images=_Picked(task.images, moved),
        image_ids=[task.image_ids[i] for i in moved],
    )


class _Picked(_Changed):
    """Pictures in another order."""

    def __init__(self, images: Sequence[Any], order: Sequence[int]) -> None:
        super().__init__(images, lambda picture: picture)
        self.order = order

    def __getitem__(self, index: Any) -> Any:
        return self.images[self.order[index]]

    def __iter__(self) -> Iterator[Any]:
        return (self.images[i] for i in self.order)


def shuffle_words(task: HeldOutTask, seed: int = 0) -> HeldOutTask:
    """The words of every question in random order; its options stay in theirs."""
    questions = [_shuffled(question, seed_of(seed, b)) for b, question in enumerate(task.questions)]
    return replace(task, name=f"{task.name}+shuffled words", questions=questions)


def _shuffled(question: Question, seed: int) -> Question:
    kept = question.blanked if question.blanked and question.blanked in question.text else ""
    before, _, after = question.text.partition(kept) if kept else (question.text, "", "")
    words = before.split()
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(seed % 2**63)).tolist()
    ends = before[len(before.rstrip()) :]
    return replace(question, text=" ".join(words[i] for i in order) + ends + kept + after)


INTERVENTIONS: Mapping[str, Callable[[HeldOutTask], HeldOutTask]] = {
    "occlude": occlude,
    "shuffle_images": shuffle_images,
    "shuffle_words": shuffle_words,
}


def compare(
    lvlm: LVLM, task: HeldOutTask, interventions: Sequence[str] = tuple(INTERVENTIONS), **settings: Any
) -> dict[str, list[ProbeResult]]:
    """The task as it is and after each intervention.

    Args:
        lvlm: The model.
        task: The task.
        interventions: Names out of `INTERVENTIONS`.
        **settings: Passed to `probe`.

    Returns:
        Results by name; ``"none"`` comes first.

    Raises:
        UnknownNameError: No such intervention.
    """
    for name in interventions:
        if name not in INTERVENTIONS:
            raise UnknownNameError(
                f"intervention {name!r}",
                f"known are {', '.join(INTERVENTIONS)}",
                "use these, or change the task yourself",
            )
    changed = {"none": task, **{name: INTERVENTIONS[name](task) for name in interventions}}
    return {name: probe(lvlm, one, **settings) for name, one in changed.items()}
