"""Interventions: atoms and accuracy before and after something is taken away from a task."""

from collections.abc import Callable, Mapping, Sequence

from fusionscope.errors import UnknownNameError
from fusionscope.lvlm import LVLM
from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.probe import probe
from fusionscope.probe.result import ProbeResult
from fusionscope.probe.spec import ProbeSpec
from fusionscope.tasks import HeldOutTask
from fusionscope.tasks.transforms import occlude, shuffle_images, shuffle_words

INTERVENTIONS: Mapping[str, Callable[[HeldOutTask], HeldOutTask]] = {
    "occlude": occlude,
    "shuffle_images": shuffle_images,
    "shuffle_words": shuffle_words,
}


def compare(
    lvlm: LVLM,
    task: HeldOutTask,
    interventions: Sequence[str] = tuple(INTERVENTIONS),
    spec: ProbeSpec = ProbeSpec(),  # noqa: B008 (frozen)
    *,
    execution: Execution = Execution(),  # noqa: B008 (frozen)
) -> dict[str, list[ProbeResult]]:
    """The task as it is and after each intervention.

    Args:
        lvlm: The model.
        task: The task.
        interventions: Names out of `INTERVENTIONS`.
        spec: What to measure.
        execution: How to run.

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
    return {name: probe(lvlm, each, spec, execution=execution) for name, each in changed.items()}
