"""Which modules of a model are its vision tower, its projector and its language model, by model type."""

from collections.abc import Mapping

from torch import nn

from fusionscope.errors import UnknownNameError
from fusionscope.stages.config import PART_NAMES, PartName

PartTable = Mapping[PartName, tuple[str, ...]]

_LLAVA: PartTable = {
    "vision_tower": ("model.vision_tower",),
    "projector": ("model.multi_modal_projector", "model.image_newline"),
    "language_model": ("model.language_model", "lm_head"),
}
_QWEN: PartTable = {
    "vision_tower": ("model.visual",),
    "projector": ("model.visual.merger", "model.visual.deepstack_merger_list"),
    "language_model": ("model.language_model", "lm_head"),
}
_IDEFICS: PartTable = {
    "vision_tower": ("model.vision_model",),
    "projector": ("model.connector",),
    "language_model": ("model.text_model", "lm_head"),
}
_BLIP: PartTable = {
    "vision_tower": ("vision_model",),
    "projector": ("query_tokens", "qformer", "language_projection"),
    "language_model": ("language_model",),
}
_MLLAMA: PartTable = {**_LLAVA, "vision_tower": ("model.vision_model",)}
_FUYU: PartTable = {
    "vision_tower": (),
    "projector": ("model.vision_embed_tokens",),
    "language_model": ("model.language_model", "lm_head"),
}

# Names as in transformers 5; a prefix that a model of the type lacks (a head tied or absent) is skipped, while a
# parameter that no prefix covers is refused.
TABLES: Mapping[str, PartTable] = {
    **dict.fromkeys(("llava", "llava_next", "llava_onevision", "vipllava", "internvl", "gemma3", "paligemma"), _LLAVA),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), _QWEN),
    **dict.fromkeys(("idefics3", "smolvlm"), _IDEFICS),
    **dict.fromkeys(("instructblip", "blip-2"), _BLIP),
    "mllama": _MLLAMA,
    "fuyu": _FUYU,
}


def part_table(model: nn.Module) -> PartTable:
    """The names of the model's parts.

    Args:
        model: A Hugging Face vision-language model (``model.config.model_type`` decides).

    Raises:
        UnknownNameError: A model type that is not in `TABLES`: parts are not guessed.
    """
    return table_of(getattr(getattr(model, "config", None), "model_type", type(model).__name__))


def table_of(model_type: str) -> PartTable:
    """The names of the parts of models of a type.

    Args:
        model_type: As in the model's config.

    Raises:
        UnknownNameError: A model type that is not in `TABLES`: parts are not guessed.
    """
    if model_type not in TABLES:
        raise UnknownNameError(
            f"no part names for models of type {model_type!r}",
            f"known types are {', '.join(sorted(TABLES))}; parts are not guessed",
            "add the type to fusionscope.stages.parts.TABLES",
        )
    return TABLES[model_type]


def part_of(name: str, table: PartTable) -> PartName:
    """The part that a parameter or module belongs to: that of the longest prefix that covers its name.

    Args:
        name: Dotted name inside the model.
        table: From `part_table`.

    Raises:
        UnknownNameError: No part covers the name.

    >>> part_of("model.visual.merger.mlp.0.weight", TABLES["qwen2_vl"])
    'projector'
    """
    matches = [
        (len(prefix), part)
        for part in PART_NAMES
        for prefix in table[part]
        if name == prefix or name.startswith(prefix + ".")
    ]
    if not matches:
        raise UnknownNameError(
            f"parameter {name!r} belongs to no part",
            f"the parts are {dict(table)}",
            "add its prefix to fusionscope.stages.parts.TABLES",
        )
    return max(matches)[1]


def parameters_by_part(model: nn.Module) -> dict[PartName, dict[str, nn.Parameter]]:
    """Every parameter of the model, under its part; a tied parameter counts once.

    Args:
        model: A Hugging Face vision-language model.
    """
    table = part_table(model)
    parts: dict[PartName, dict[str, nn.Parameter]] = {part: {} for part in PART_NAMES}
    for name, parameter in model.named_parameters():
        parts[part_of(name, table)][name] = parameter
    return parts


def modules_of(model: nn.Module, part: PartName) -> dict[str, nn.Module]:
    """Every module of a part by its name, outermost first.

    Args:
        model: A Hugging Face vision-language model.
        part: The part.
    """
    table = part_table(model)
    prefixes = [prefix for names in table.values() for prefix in names]
    inside = [
        name
        for name, _ in model.named_modules()
        if any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)
    ]
    return {name: model.get_submodule(name) for name in inside if part_of(name, table) == part}
