"""Interventions: atoms and accuracy before and after something is taken away from a task."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fusionscope.errors import UnknownNameError
from fusionscope.lvlm import LVLM
from fusionscope.probe.posteriors import ProbeResult
from fusionscope.probe.probe import probe
from fusionscope.tasks import HeldOutTask
from fusionscope.tasks.transforms import occlude, shuffle_images, shuffle_words

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
    return {name: probe(lvlm, variant, **settings) for name, variant in changed.items()}
