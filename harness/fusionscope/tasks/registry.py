"""Tasks by name, found through entry points, so that a task may live in any package."""

from typing import Any

from fusionscope.plugins import Register, called
from fusionscope.tasks.task import HeldOutTask

TASKS = Register(group="fusionscope.tasks", what="task")


def known_tasks() -> tuple[str, ...]:
    """Names that `load_task` accepts before the slash."""
    return TASKS.names()


def load_task(name: str, **settings: Any) -> HeldOutTask:
    """Load a held-out task by name.

    Args:
        name: ``"task"`` or ``"task/variant"``, such as ``"sandbox/synergy"``; the part before the slash is an entry
            point of the group ``fusionscope.tasks``, a callable ``load(variant, **settings) -> HeldOutTask``.
        **settings: Passed to the loader.

    Raises:
        UnknownNameError: No entry point of that name.
        ConfigError: Settings that its loader does not take, or lacks.
    """
    family, _, variant = name.partition("/")
    return called(f"task {name!r}", TASKS.get(family), settings, variant)
