"""Classes that a file names by their path: which of them may be imported without asking.

Importing a module runs it. A checkpoint or a configuration of somebody else may name any module that Python finds here,
so one is imported for it only if it is part of fusionscope, imported already, or registered as an entry point of
fusionscope's by an installed package; any other only where the user trusts the file.
"""

import sys
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from fusionscope.errors import DataError

STAGES = "fusionscope.stages"
"""Entry points of training stages: ``name = "package.module:Class"``."""
_ENTRY_POINTS = ("fusionscope.tasks", "fusionscope.designs", "fusionscope.estimators", "fusionscope.families", STAGES)


def class_path(cls: type) -> str:
    """The path under which `trusted_class` finds a class.

    >>> class_path(DataError)
    'fusionscope.errors.DataError'
    """
    return f"{cls.__module__}.{cls.__qualname__}"


def is_trusted(module: str) -> bool:
    """Whether a module may be imported because a file names it.

    Args:
        module: Its dotted name.

    >>> is_trusted("fusionscope.stages"), is_trusted("fusionscope_other"), is_trusted("antigravity")
    (True, False, False)
    """
    return (
        module.partition(".")[0] == "fusionscope"
        or module in sys.modules
        or any(entry.module == module for group in _ENTRY_POINTS for entry in entry_points(group=group))
    )


def trusted_class(path: str, *, file: str, kind: type, trust: bool = False) -> Any:
    """A class by its path.

    Args:
        path: Module and class, with dots.
        file: The file that names it, for messages.
        kind: What it must be a subclass of; ``object`` for anything.
        trust: Import whatever the file names.

    Raises:
        DataError: A path that is not trusted, leads nowhere, or to something else.
    """
    module, _, name = path.rpartition(".")
    if not trust and not is_trusted(module):
        raise DataError(
            f"{file} names the class {path}",
            f"importing {module or path!r} would run its code, and it is neither part of fusionscope, nor imported "
            "already, nor an entry point of fusionscope's",
            f"if you trust the file and the module, say --trust; or register the class (entry point of {STAGES!r})",
        )
    try:
        value = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise DataError(
            f"{file} names the class {path}, which cannot be imported: {error}",
            "it is built from the class that it was saved with",
            "install the package that it comes from; a class of a script or a function must move to a module",
        ) from error
    if not (isinstance(value, type) and issubclass(value, kind)):
        raise DataError(f"{file} names {path}", f"it is no {kind.__name__}", "give a file that a stage has saved")
    return value
