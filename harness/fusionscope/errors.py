"""The few exceptions of the project.

Every message says what was given, why it cannot be, and how to fix it.
"""


class FusionscopeError(Exception):
    """Base of every error that fusionscope raises on purpose.

    Args:
        what: What was given, the value included.
        why: The rule that it breaks.
        fix: The argument or command that fixes it.
    """

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        super().__init__("\n".join(part for part in (what, why and f"Why: {why}", fix and f"Fix: {fix}") if part))

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.what, self.why, self.fix)


class InputError(FusionscopeError, ValueError):
    """A value that a function cannot accept: wrong shape, range, dtype or content."""


class ConfigError(FusionscopeError, ValueError):
    """A recipe, a command line or a callback's settings that cannot be carried out."""


class UnknownNameError(FusionscopeError, LookupError):
    """A task, layer, design, estimator, recipe or model type that is not known."""


class DataError(FusionscopeError, ValueError):
    """A file or a sample that is not what its format says; names the file, row and column."""


class BadImageError(DataError):
    """An image that is missing or cannot be read; a few may be left out where `max_bad_images` says so."""


class RunDirectoryError(FusionscopeError):
    """A run directory that belongs to another recipe or holds another schema."""


class MissingDependencyError(FusionscopeError, ImportError):
    """An optional package that this call needs is not installed."""
