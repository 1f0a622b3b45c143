"""The families that there are: modules of `fusionscope.lvlm.families`, and entry points of other packages.

They are looked for when one is first asked for; importing `fusionscope.lvlm` loads none.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any

from torch import nn

from fusionscope.errors import ConfigError, UnknownNameError
from fusionscope.lvlm.family import Family
from fusionscope.plugins import Register

FAMILIES = Register(group="fusionscope.families", what="family")
_HOW_TO_ADD = (
    "write a fusionscope.lvlm.Family around the model, whichever package its class is from, in a package of your own, "
    f"and register it as an entry point of the group {FAMILIES.group!r} ('Add a family' in CONTRIBUTING.md)"
)


@cache
def known_families() -> Mapping[str, Family]:
    """Every family under each of its model types.

    Raises:
        ConfigError: An entry point cannot be loaded or is no `Family`, or two families serve one model type.
    """
    package = import_module("fusionscope.lvlm.families")
    names = [f"{package.__name__}.{module.name}" for module in iter_modules(package.__path__)]
    inside = [(name, import_module(name).FAMILY) for name in names]
    outside = [(f"the entry point {name!r}", _loaded(name)) for name in FAMILIES.names()]
    return MappingProxyType(_by_model_type([*inside, *outside]))


def _loaded(name: str) -> Family:
    try:
        family = FAMILIES.get(name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the family of the entry point {name!r} cannot be loaded",
            f"{type(error).__name__}: {error}",
            "install what it needs, or uninstall the package that registers it",
        ) from error
    if not isinstance(family, Family):
        raise ConfigError(
            f"the entry point {name!r} of {FAMILIES.group!r} is {family!r}",
            "its value must be a fusionscope.lvlm.Family",
            "correct the package that registers it",
        )
    return family


def _by_model_type(named: Iterable[tuple[str, Family]]) -> dict[str, Family]:
    families: dict[str, Family] = {}
    homes: dict[str, str] = {}
    for home, family in named:
        for model_type in family.model_types:
            if model_type in families:
                raise ConfigError(
                    f"two families for models of type {model_type!r}",
                    f"{homes[model_type]} and {home} both serve it, and which one is meant is not guessed",
                    "give one of them another model type, or uninstall its package",
                )
            families[model_type] = family
            homes[model_type] = home
    return families


def known_model_types() -> tuple[str, ...]:
    """Values of ``config.model_type`` that a family serves."""
    return tuple(sorted(known_families()))


def family_of(model_type: str) -> Family:
    """The family that serves a model type.

    Args:
        model_type: As in the model's config.

    Raises:
        UnknownNameError: No family serves it; none is guessed.
    """
    families = known_families()
    if model_type not in families:
        raise UnknownNameError(
            f"model type {model_type!r}",
            f"there are families for {', '.join(sorted(families))}; none is guessed for another model",
            _HOW_TO_ADD,
        )
    return families[model_type]


def family_of_model(model: nn.Module) -> Family:
    """The family of a model.

    Args:
        model: A Hugging Face model, not wrapped; ``model.config.model_type`` decides.

    Raises:
        UnknownNameError: The model states no type, or no family serves it.
    """
    config: Any = getattr(model, "config", None)
    model_type = getattr(config, "model_type", None)
    if not isinstance(model_type, str):
        raise UnknownNameError(
            f"{type(model).__name__} has no config.model_type",
            "a model's family goes by its type",
            "pass a model of transformers, or one whose config states a model type",
        )
    return family_of(model_type)


def family_of_checkpoint(name_or_path: str) -> Family:
    """The family of a model that is not loaded yet.

    Args:
        name_or_path: A directory or the name of a model on the hub.

    Raises:
        ConfigError: There is no configuration of that name, or transformers knows no class for its model type.
        UnknownNameError: No family serves its type.
    """
    known_families()  # one of another package may register a configuration's class with transformers
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(name_or_path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the configuration of {name_or_path!r} cannot be read",
            str(error).splitlines()[0],
            "give a directory written by save_pretrained (or by fusionscope export), or a name on the model hub",
        ) from error
    return family_of(config.model_type)
