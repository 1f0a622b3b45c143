"""Low-rank adapters by part: put in, and merged for an export without touching the trained weights."""

import re
from collections.abc import Iterator

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from fusionscope.errors import ConfigError
from fusionscope.lvlm import PartName, modules_of
from fusionscope.stages.config import LoraSettings

ADAPTER = "default"


def add_adapters(model: nn.Module, parts: list[PartName], settings: LoraSettings) -> None:
    """Put adapters on the linear layers of the given parts, in place.

    Layers are named one by one and in full, so that a layer of the same short name elsewhere (CLIP too has ``q_proj``)
    is never hit.

    Args:
        model: A Hugging Face vision-language model.
        parts: Parts to adapt.
        settings: Rank, scale, dropout and targets.

    Raises:
        ConfigError: No linear layer of a part matches the targets.
    """
    names = [name for part in parts for name in _targets(model, part, settings.targets)]
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, bias="none", target_modules=names
    )
    inject_adapter_in_model(config, model, adapter_name=ADAPTER)


def _targets(model: nn.Module, part: PartName, pattern: str) -> list[str]:
    head = model.get_output_embeddings()  # type: ignore[operator]  # transformers' own method
    linear = [
        name for name, module in modules_of(model, part).items() if isinstance(module, nn.Linear) and module is not head
    ]
    chosen = [name for name in linear if re.search(pattern, name)]
    if not chosen:
        raise ConfigError(
            f"lora.targets={pattern!r} matches no linear layer of {part}",
            f"its linear layers are {', '.join(linear[:8]) or 'none'}{' ...' if len(linear) > 8 else ''}",
            "correct the pattern, or set another tune type for this part",
        )
    return chosen


def merged(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights by name, one after the other, as a model without adapters has them: W + scale * B A, in W's dtype.

    The model is not changed: merging in place and back would leave rounding errors in the frozen weights.

    Args:
        model: A model with or without adapters.
    """
    adapted = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    for key, value in model.state_dict().items():
        owner = next((name for name in _ancestors(key) if name in adapted), None)
        if owner is None:
            yield key, value
        elif key.startswith(f"{owner}.base_layer."):
            field = key.removeprefix(f"{owner}.base_layer.")
            yield f"{owner}.{field}", _plus_delta(value, adapted[owner]) if field == "weight" else value


def _ancestors(key: str) -> list[str]:
    words = key.split(".")
    return [".".join(words[:n]) for n in range(len(words) - 1, 0, -1)]


@torch.no_grad()
def _plus_delta(weight: Tensor, layer: LoraLayer) -> Tensor:
    delta: Tensor = layer.get_delta_weight(ADAPTER)  # type: ignore[attr-defined]  # defined by peft's Linear
    return (weight.float() + delta.float()).to(weight.dtype)
