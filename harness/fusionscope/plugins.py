"""What can be added from outside: tasks, designs, estimators and families, found by name through entry points."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import Parameter, signature
from typing import Any, TypeVar

from fusionscope.errors import ConfigError, UnknownNameError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Register:
    """The entry points of one group.

    Args:
        group: Name of the group, such as ``"fusionscope.designs"``.
        what: What is registered there, in the singular, for messages.

    >>> "pope" in Register(group="fusionscope.tasks", what="task").names()
    True
    """

    group: str
    what: str

    def names(self) -> tuple[str, ...]:
        """The registered names, sorted."""
        return tuple(sorted(self._entries()))

    def get(self, name: str) -> Any:
        """What is registered under a name.

        Raises:
            UnknownNameError: Nothing is.
            ConfigError: Two packages registered the name.
        """
        entries = self._entries()
        if not isinstance(name, str) or name not in entries:
            raise UnknownNameError(
                f"{self.what} {name!r}",
                f"known are {', '.join(sorted(entries)) or 'none (is fusionscope installed?)'}",
                f"use one of them, or register it as an entry point of the group {self.group!r}",
            )
        return entries[name].load()

    def make(self, name: str, options: Mapping[str, Any]) -> Any:
        """Call what is registered under a name with keyword arguments that it is checked to take.

        Raises:
            UnknownNameError: No such name.
            ConfigError: An option that it does not take, or one that it needs and was not given.
        """
        return called(f"{self.what} {name!r}", self.get(name), options)

    def _entries(self) -> dict[str, EntryPoint]:
        return entries_of(self.group)


@cache
def entries_of(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name; read once, since every installed package is looked into.

    Raises:
        ConfigError: Two packages registered one name.
    """
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = entries.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise ConfigError(
                f"{entry.name!r} is registered in the group {group!r} as {other.value} and as {entry.value}",
                "a name stands for one thing",
                "rename one of them, or uninstall the package that it comes from",
            )
    return entries


def called(what: str, function: Callable[..., T], options: Mapping[str, Any], *positional: Any) -> T:
    """Call a function with options that a person wrote.

    Args:
        what: What is called, for messages.
        function: What to call.
        options: Its keyword arguments.
        *positional: Arguments that are not the person's.

    Raises:
        ConfigError: An option that it does not take, or one that it needs and was not given.
    """
    try:
        signature(function).bind(*positional, **options)
    except TypeError as error:
        kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        parameters = [p.name for p in signature(function).parameters.values() if p.kind in kinds][len(positional) :]
        takes = f"it takes {', '.join(parameters)}" if parameters else "it takes no options"
        raise ConfigError(f"{what}: {error}", takes, "correct the options") from error
    return function(*positional, **options)
