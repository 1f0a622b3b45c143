"""What is stated about a family of models: everything that differs between it and the others, in one object.

A family is one module of `fusionscope.lvlm.families`, or of somebody else's package, that ends in
``FAMILY = Family(...)``; `fusionscope.lvlm.register` finds it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import nn

from fusionscope.errors import ConfigError, UnknownNameError
from fusionscope.lvlm.packing import CannotPack, ImageInputs
from fusionscope.lvlm.prompt import PromptForm

if TYPE_CHECKING:
    from fusionscope.lvlm.adapters import Adapter
    from fusionscope.lvlm.encoders import Encoder

PartName = Literal["vision_tower", "projector", "language_model"]
PART_NAMES: tuple[PartName, ...] = get_args(PartName)


@dataclass(frozen=True, kw_only=True)
class PartTable:
    """Which modules and parameters of a model are its vision tower, its projector and its language model.

    Dotted prefixes of names inside the model, as in transformers 5; the defaults are those of most families. A prefix
    that a model of the family lacks (a head tied or absent) is skipped, while a parameter that no prefix covers is
    refused. Where two prefixes cover a name, the longer one decides.

    Args:
        vision_tower: Prefixes of the vision tower, the tower itself first; empty where there is none.
        projector: Prefixes of what leads from the tower to the language model.
        language_model: Prefixes of the language model, the decoder itself first.
    """

    vision_tower: tuple[str, ...] = ("model.vision_tower",)
    projector: tuple[str, ...] = ("model.multi_modal_projector",)
    language_model: tuple[str, ...] = ("model.language_model", "lm_head")

    def by_part(self) -> dict[PartName, tuple[str, ...]]:
        """The prefixes under the names of the parts."""
        return {
            "vision_tower": self.vision_tower,
            "projector": self.projector,
            "language_model": self.language_model,
        }

    def prefixes(self, parts: Iterable[PartName]) -> list[str]:
        """The prefixes of several parts, one after the other."""
        by_part = self.by_part()
        return [prefix for part in parts for prefix in by_part[part]]

    def covers(self, name: str) -> bool:
        """Whether a parameter or module belongs to any part."""
        return any(_is_inside(name, prefix) for prefix in self.prefixes(PART_NAMES))

    def part_of(self, name: str) -> PartName:
        """The part that a parameter or module belongs to: that of the longest prefix that covers its name.

        Args:
            name: Dotted name inside the model.

        Raises:
            UnknownNameError: No part covers the name.

        >>> table = PartTable(vision_tower=("model.visual",), projector=("model.visual.merger",))
        >>> table.part_of("model.visual.merger.mlp.0.weight")
        'projector'
        """
        matches = [
            (len(prefix), part)
            for part, prefixes in self.by_part().items()
            for prefix in prefixes
            if _is_inside(name, prefix)
        ]
        if not matches:
            raise UnknownNameError(
                f"parameter {name!r} belongs to no part",
                f"the parts of its family are {self.by_part()}; a part is not guessed",
                "give the changed model a model type of its own and write a fusionscope.lvlm.Family for it whose part "
                "table covers the name ('Add a family' in CONTRIBUTING.md)",
            )
        return max(matches)[1]


def _is_inside(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of models.

    Args:
        model_types: The values of ``config.model_type`` that it serves; the miniature has the first of them.
        adapter: What the probe must know of a model: layers, norm, head, how an image becomes tokens.
        prompt: How a conversation is written out.
        encoder: How conversations become a batch for training, with the family's processor.
        packing: How several samples share a row in training, or why they cannot.
        miniature: Builds a model of a few thousand random weights, with all parts of the real ones, and its processor;
            called under a seed of its own (`fusionscope.lvlm.miniature`).
        parts: Which modules are vision tower, projector and language model.

    Raises:
        ConfigError: No model type.
    """

    model_types: tuple[str, ...]
    adapter: "type[Adapter]"
    prompt: PromptForm
    encoder: "type[Encoder]"
    packing: ImageInputs | CannotPack
    miniature: Callable[[], tuple[nn.Module, Any]]
    parts: PartTable = PartTable()

    def __post_init__(self) -> None:
        if isinstance(self.model_types, str) or not self.model_types:
            raise ConfigError(
                f"model_types={self.model_types!r}",
                "a family serves one or several values of config.model_type",
                "give a tuple of them, such as ('llava',)",
            )
