"""YAML that a person wrote, read with an error that says where it is wrong."""

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
