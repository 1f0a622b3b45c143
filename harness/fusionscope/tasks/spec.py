"""A held-out task as a recipe, a profile or a command line states it: its name and the settings of its loader."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from fusionscope.errors import ConfigError
from fusionscope.tasks.registry import load_task
from fusionscope.tasks.task import HeldOutTask

_OPEN, _CLOSE, _QUOTES = "[{(", "]})", "\"'"


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A held-out task by name.

    Args:
        name: What `load_task` takes, such as ``"sandbox/synergy"``.
        settings: Keyword arguments of the task's loader, and ``name``: what records call the task.

    >>> TaskSpec.parse("pope/random:path=data/pope,n=300")
    TaskSpec(name='pope/random', settings={'path': 'data/pope', 'n': 300})
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        given: "str | Mapping[str, Any] | TaskSpec",
        *,
        where: str = "tasks",
        defaults: Mapping[str, Any] | None = None,
    ) -> "TaskSpec":
        """A task as people write it.

        Args:
            given: ``NAME``; ``NAME:key=value,key=value``, the values read as YAML; a mapping of ``name`` and
                ``settings``; or a `TaskSpec`.
            where: What it stands in, for messages.
            defaults: Settings that hold where ``given`` has none of this name.

        Raises:
            ConfigError: It is none of these.
        """
        if isinstance(given, TaskSpec):
            spec = given
        elif isinstance(given, str):
            name, _, rest = given.partition(":")
            spec = cls(name=name.strip(), settings=settings_of(_pieces(rest), f"{where}: {given}"))
        elif _is_mapping_of_a_task(given):
            spec = cls(name=given["name"], settings=dict(given.get("settings") or {}))
        else:
            raise ConfigError(
                f"{where}: {given!r}",
                "a task is a name, a name with settings (NAME:key=value,...), or a mapping of name and settings",
                "write pope/random, pope/random:path=data/pope, or {name: pope/random, settings: {path: data/pope}}",
            )
        return cls(name=spec.name, settings={**(defaults or {}), **spec.settings})

    def load(self) -> HeldOutTask:
        """The task; see `load_task`."""
        return load_task(self.name, **self.settings)


def load_tasks(given: Sequence["str | Mapping[str, Any] | TaskSpec | HeldOutTask"]) -> list[HeldOutTask]:
    """A list of tasks as people write it, loaded.

    Args:
        given: Tasks, or what `TaskSpec.parse` takes.

    Raises:
        ConfigError: It is no list, or two tasks have one name.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Sequence):
        raise ConfigError(f"tasks={given!r}", "it is a list of tasks", f"write [{given!r}]")
    tasks = [task if isinstance(task, HeldOutTask) else TaskSpec.parse(task).load() for task in given]
    unique_names(tasks)
    return tasks


def unique_names(tasks: Sequence[HeldOutTask]) -> None:
    """Refuse a list in which two tasks have one name: records, curves and tags tell them apart by it.

    Raises:
        ConfigError: Two have.
    """
    counts = Counter(task.name for task in tasks)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ConfigError(
            f"{counts[twice[0]]} tasks are named {twice[0]!r}",
            "records and curves of different tasks need different names",
            "set `name` among a task's settings, such as {name: custom, settings: {name: custom/mine, path: ...}}, or "
            "write the name as a variant of custom: custom/mine",
        )


def settings_of(pairs: Sequence[str], where: str) -> dict[str, Any]:
    """Settings from ``key=value`` texts, the values read as YAML.

    Args:
        pairs: The texts.
        where: What they stand in, for messages.

    Raises:
        ConfigError: A text without ``=``, a key that comes twice, or a value that is no YAML.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = (part.strip() for part in pair.partition("="))
        if not separator or not key.isidentifier():
            raise ConfigError(f"{where}: {pair!r}", "a setting is KEY=VALUE", "such as images=96")
        if key in settings:
            raise ConfigError(f"{where}: {key} is set twice", "a setting has one value", "leave one of them out")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"{where}: {pair} is no YAML",
                str(error),
                "correct the value: a bracket or a quote is not closed, or a text with signs needs quotes",
            ) from error
    return settings


def _is_mapping_of_a_task(given: Any) -> bool:
    return (
        isinstance(given, Mapping)
        and {"name"} <= set(given) <= {"name", "settings"}
        and isinstance(given["name"], str)
        and isinstance(given.get("settings") or {}, Mapping)
    )


def _pieces(text: str) -> list[str]:
    """The text cut at its commas, those inside of brackets and quotes aside."""
    pieces, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in _QUOTES:
            quote = sign
        else:
            depth += (sign in _OPEN) - (sign in _CLOSE)
        if sign == "," and not quote and depth <= 0:
            pieces.append("")
        else:
            pieces[-1] += sign
    return [piece for piece in pieces if piece.strip()]
