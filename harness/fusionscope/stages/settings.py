"""Settings of a stage as plain data: what a checkpoint holds of them, and back."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from fusionscope.errors import ConfigError, DataError
from fusionscope.trust import class_path, trusted_class

_CLASS = "__dataclass__"


def encode(value: Any, name: str) -> Any:
    """A setting as plain data, which a checkpoint can hold without being unpickled.

    Args:
        value: Numbers, strings, paths, lists, tuples, dictionaries and dataclasses of these.
        name: The setting's name, for messages.

    Raises:
        ConfigError: Anything else.

    >>> encode({"betas": (0.9, 0.98)}, "optimizer")
    {'betas': (0.9, 0.98)}
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return type(value)([encode(item, name) for item in value])
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: encode(item, f"{name}.{key}") for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        settings = {f.name: encode(getattr(value, f.name), f"{name}.{f.name}") for f in fields(value) if f.init}
        return {_CLASS: class_path(type(value)), **settings}
    raise ConfigError(
        f"the stage's setting {name} is a {type(value).__name__}",
        "checkpoints hold the settings that build their stage again, as plain data: numbers, strings, lists, "
        "dictionaries and dataclasses",
        "take such an argument in the constructor, or override `settings` to give what stands for it",
    )


def decode(value: Any, file: str, *, trust: bool) -> Any:
    """What `encode` was given.

    Args:
        value: Plain data.
        file: Where it comes from, for messages.
        trust: See `fusionscope.trust`.

    Raises:
        DataError: A dataclass that is not trusted, or does not take its settings.
    """
    if isinstance(value, (list, tuple)):
        return type(value)([decode(item, file, trust=trust) for item in value])
    if not isinstance(value, dict):
        return value
    settings = {key: decode(item, file, trust=trust) for key, item in value.items() if key != _CLASS}
    if _CLASS not in value:
        return settings
    cls = trusted_class(str(value[_CLASS]), file=file, kind=object, trust=trust)
    if not isinstance(cls, type) or not is_dataclass(cls):
        raise DataError(f"{file} names {value[_CLASS]}", "it is no dataclass", "give a file that a stage has saved")
    return built(cls, settings, file)


def built(cls: type, settings: dict[str, Any], file: str) -> Any:
    """A class called with settings from a file.

    Args:
        cls: The class.
        settings: Its keyword arguments.
        file: Where they come from, for messages.

    Raises:
        DataError: It does not take them.
    """
    try:
        return cls(**settings)
    except TypeError as error:
        raise DataError(
            f"{file} does not fit this version of {class_path(cls)}: {error}",
            "it was saved with other settings",
            "use the version that saved it",
        ) from error
