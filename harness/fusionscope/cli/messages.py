"""Out of a parser's long nested message, the one cause that a person needs."""

import inspect
import re
from collections.abc import Iterator
from difflib import get_close_matches
from importlib import import_module

from fusionscope.errors import ConfigError, FusionscopeError

# What jsonargparse says of the alternatives that nobody meant, and the echo of the whole value.
_NOISE = re.compile(
    r"Given value|Subtypes:|Errors:|Does not validate|Expected a <class 'NoneType'>|Not a valid subclass|"
    r"Subclass types|a class path \(str\)|a dict "
)
_HELP = "`fusionscope fit --help` and `fusionscope fit --model.help CLASS` list the keys"


def shortened(error: Exception) -> FusionscopeError:
    """The error of ours that a parser's error hides, else its deepest cause as a `ConfigError`."""
    for cause in _chain(error):
        if isinstance(cause, FusionscopeError):
            return cause
    what, place = _deepest(str(error))
    return ConfigError(what, f"in {' / '.join(place)}" if place else "", _fix(what, place))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _deepest(message: str) -> tuple[str, list[str]]:
    """The most indented line, and the keys and classes that lead to it."""
    lines: list[tuple[int, str]] = []
    for line in message.splitlines():
        text = line.strip(" -")
        if text and not _NOISE.match(text):
            lines.append((len(line) - len(line.lstrip(" -")), text))
    if not lines:
        return message, []
    last = max(range(len(lines)), key=lambda i: lines[i][0])
    place, depth = [], lines[last][0]
    for indent, text in reversed(lines[:last]):
        if indent < depth:
            place.append(text.removeprefix("Problem with given class_path ").rstrip(":"))
            depth = indent
    return lines[last][1], place[::-1]


def _fix(what: str, place: list[str]) -> str:
    """The nearest key that the class does take, where the cause is an unknown key."""
    unknown = re.search(r"'([^']+)' is not accepted", what)
    classes = [name for text in place for name in re.findall(r"^'([\w.]+)'$", text)]
    if unknown and classes:
        known = _parameters(classes[-1])
        near = get_close_matches(unknown[1], known, n=1)
        return (f"did you mean {near[0]!r}? " if near else "") + f"{classes[-1]} takes {', '.join(sorted(known))}"
    return _HELP


def _parameters(path: str) -> set[str]:
    module, _, name = path.rpartition(".")
    bases = inspect.getmro(getattr(import_module(module), name))
    signatures = [inspect.signature(vars(base)["__init__"]) for base in bases if "__init__" in vars(base)]
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name for s in signatures for p in s.parameters.values() if p.kind in kinds} - {"self"}
