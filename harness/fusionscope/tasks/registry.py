"""Tasks by name, found through entry points, so that a task may live in any package."""

from importlib.metadata import entry_points
from inspect import signature
from typing import Any

from fusionscope.errors import ConfigError, UnknownNameError
from fusionscope.tasks.task import HeldOutTask

GROUP = "fusionscope.tasks"


def known_tasks() -> tuple[str, ...]:
    """Names that `load_task` accepts before the slash."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


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
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if family not in found:
        raise UnknownNameError(
            f"unknown task {name!r}",
            f"known tasks are {', '.join(sorted(found)) or 'none (is fusionscope installed?)'}",
            f"use one of them, or register a loader as an entry point of the group {GROUP!r}",
        )
    loader = found[family].load()
    try:
        signature(loader).bind(variant, **settings)
    except TypeError as error:
        takes = ", ".join(list(signature(loader).parameters)[1:])
        raise ConfigError(f"task {name!r}: {error}", f"its loader takes {takes}", "correct the settings") from error
    task: HeldOutTask = loader(variant, **settings)
    return task
