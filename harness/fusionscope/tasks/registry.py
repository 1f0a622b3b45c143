"""Tasks by name, found through entry points, so that a task may live in any package."""

from dataclasses import replace
from typing import Any

from fusionscope.errors import ConfigError
from fusionscope.plugins import Register, called
from fusionscope.tasks.task import HeldOutTask

TASKS = Register(group="fusionscope.tasks", what="task")


def known_tasks() -> tuple[str, ...]:
    """Names that `load_task` accepts before the slash."""
    return TASKS.names()


def load_task(task: str, /, *, name: str | None = None, **settings: Any) -> HeldOutTask:
    """Load a held-out task by name.

    Args:
        task: ``"task"`` or ``"task/variant"``, such as ``"sandbox/synergy"``; the part before the slash is an entry
            point of the group ``fusionscope.tasks``, a callable ``load(variant, **settings) -> HeldOutTask``.
        name: What records and curves call it; the loader's own name for it by default.
        **settings: Passed to the loader.

    Raises:
        UnknownNameError: No entry point of that name.
        ConfigError: Settings that its loader does not take, or lacks, or a loader that returns no task.
    """
    family, _, variant = task.partition("/")
    loaded = called(f"task {task!r}", TASKS.get(family), settings, variant)
    if not isinstance(loaded, HeldOutTask):
        raise ConfigError(
            f"task {task!r} is {type(loaded)}", "a loader returns a HeldOutTask", "correct the package that adds it"
        )
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise ConfigError(f"task {task!r} with name={name!r}", "records carry it", "write a text that is not empty")
    return loaded if name is None else replace(loaded, name=name)
