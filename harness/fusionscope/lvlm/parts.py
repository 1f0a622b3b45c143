"""The parts of a model, by the part table of its family."""

from torch import nn

from fusionscope.lvlm.family import PART_NAMES, PartName
from fusionscope.lvlm.register import family_of_model


def parameters_by_part(model: nn.Module) -> dict[PartName, dict[str, nn.Parameter]]:
    """Every parameter of the model, under its part; a tied parameter counts once.

    Args:
        model: A Hugging Face vision-language model.

    Raises:
        UnknownNameError: No family serves the model's type, or no part covers a parameter.
    """
    table = family_of_model(model).parts
    parts: dict[PartName, dict[str, nn.Parameter]] = {part: {} for part in PART_NAMES}
    for name, parameter in model.named_parameters():
        parts[table.part_of(name)][name] = parameter
    return parts


def modules_of(model: nn.Module, part: PartName) -> dict[str, nn.Module]:
    """Every module of a part by its name, outermost first.

    Args:
        model: A Hugging Face vision-language model.
        part: The part.

    Raises:
        UnknownNameError: No family serves the model's type.
    """
    table = family_of_model(model).parts
    return {
        name: module for name, module in model.named_modules() if table.covers(name) and table.part_of(name) == part
    }
