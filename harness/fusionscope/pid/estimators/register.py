"""Estimators by name, found through entry points, so that one may live in any package."""

from typing import Any

from fusionscope.errors import ConfigError
from fusionscope.pid.estimators.base import Estimator
from fusionscope.plugins import Register

ESTIMATORS = Register(group="fusionscope.estimators", what="estimator")


def known_estimators() -> tuple[str, ...]:
    """Names that :func:`get_estimator` accepts."""
    return ESTIMATORS.names()


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
    estimator = ESTIMATORS.make(name, options)
    if not isinstance(estimator, Estimator) or estimator.name != name:
        raise ConfigError(
            f"entry point {name!r} gives a {type(estimator).__name__}",
            f"it must be a subclass of fusionscope.pid.estimators.Estimator whose name is {name!r}",
            "correct the package that registers it",
        )
    return estimator
