"""Estimators by name, found through entry points, so that one may live in any package."""

from dataclasses import fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fusionscope.errors import ConfigError, UnknownNameError
from fusionscope.pid.estimators.base import Estimator

GROUP = "fusionscope.estimators"


@cache
def _entries() -> dict[str, EntryPoint]:
    """Read once: every installed package is looked into, and a bootstrap asks hundreds of times."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def known_estimators() -> tuple[str, ...]:
    """Names that :func:`get_estimator` accepts."""
    return tuple(sorted(_entries()))


def get_estimator(name: str, **options: Any) -> Estimator[Any]:
    """An estimator with its options.

    Args:
        name: An entry point of the group ``fusionscope.estimators``, a subclass of `Estimator`.
        **options: Fields of that class.

    Raises:
        UnknownNameError: No entry point of that name.
        ConfigError: Options that it does not take, or an entry point that is no `Estimator` of this name.
        InputError: An option out of its range.

    Example:
        >>> get_estimator("exact", max_tilt=0.2).max_tilt
        0.2
    """
    entries = _entries()
    if name not in entries:
        raise UnknownNameError(
            f"unknown estimator {name!r}",
            f"known estimators are {', '.join(sorted(entries)) or 'none (is fusionscope installed?)'}",
            f"use one of them, or register a class as an entry point of the group {GROUP!r}",
        )
    kind = entries[name].load()
    if not (isinstance(kind, type) and issubclass(kind, Estimator) and kind.name == name):
        raise ConfigError(
            f"entry point {name!r} is {entries[name].value}",
            f"it must be a subclass of fusionscope.pid.estimators.Estimator whose name is {name!r}",
            "correct the package that registers it",
        )
    takes = [field.name for field in fields(kind)]
    unknown = sorted(set(options) - set(takes))
    if unknown:
        raise ConfigError(
            f"estimator {name!r} with {', '.join(map(repr, unknown))}",
            f"its options are {', '.join(takes) or 'none'}",
            "use these",
        )
    estimator: Estimator[Any] = kind(**options)
    return estimator
