"""YAML that a person wrote, read with an error that says where it is wrong."""

from pathlib import Path
from typing import Any

import yaml

from fusionscope.errors import ConfigError


def read_yaml(text: str, where: str) -> Any:
    """The value of a YAML text.

    Args:
        text: The text.
        where: What it is, for the error: a file or an argument.

    Raises:
        ConfigError: It is no YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(
            f"{where}{place} is no YAML",
            str(getattr(error, "problem", None) or error),
            "correct it: a bracket, a quote or an indentation is not closed or not expected there",
        ) from error


def read_yaml_file(path: Path) -> Any:
    """The value of a YAML file.

    Raises:
        ConfigError: It is not there, is a folder, is no UTF-8, or is no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path} line {line} is no UTF-8: {error}", "YAML files are UTF-8", "save it so") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "it has to be a YAML file", "check it") from error
    return read_yaml(text, str(path))
