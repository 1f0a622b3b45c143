"""Which weights of a model a stage trains: gradients, adapters, modes and the optimizer's groups, part by part."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from fusionscope.lvlm import PART_NAMES, PartName, modules_of, parameters_by_part
from fusionscope.stages.config import LoraSettings, PartConfig
from fusionscope.stages.lora import add_adapters

Parts = Mapping[PartName, PartConfig]
VECTORS = "_vectors"
"""Ending of the names of optimizer groups without weight decay: the biases and norms of a part."""


def apply(network: nn.Module, parts: Parts, lora: LoraSettings) -> None:
    """Freeze, adapt and unfreeze the parts of a model in place; trained weights are float32 afterwards.

    Args:
        network: A Hugging Face vision-language model.
        parts: How each part is trained.
        lora: Settings of the parts tuned with ``"lora"``.
    """
    for part, parameters in parameters_by_part(network).items():
        for parameter in parameters.values():
            parameter.requires_grad_(parts[part].tune == "full")
    adapted = [part for part in PART_NAMES if parts[part].tune == "lora"]
    if adapted:
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        add_adapters(network, adapted, lora)
        for parameter in trained:
            parameter.requires_grad_(True)  # peft freezes all but its own
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def freeze_modes(network: nn.Module, parts: Parts, *, recompute: bool) -> None:
    """Evaluation mode for the frozen parts of a model in training mode.

    Args:
        network: A Hugging Face vision-language model.
        parts: How each part is trained.
        recompute: Leave the flag of layers that recompute their activations at "training": transformers recomputes a
            layer only then; what is inside it (dropout) is in evaluation mode all the same.
    """
    for part, config in parts.items():
        if config.tune == "frozen":
            for module in modules_of(network, part).values():
                module.training = recompute and isinstance(module, GradientCheckpointingLayer)


def parameter_groups(network: nn.Module, parts: Parts, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's groups: per trained part its matrices and, where there is weight decay, its vectors without.

    Args:
        network: A Hugging Face vision-language model.
        parts: How each part is trained.
        weight_decay: Weight decay of matrices.
    """
    return [
        {"name": name, "params": params, "lr": parts[part].lr, "weight_decay": decay}
        for part, parameters in parameters_by_part(network).items()
        for name, params, decay in _split(part, parameters.values(), weight_decay)
        if params
    ]


def _split(part: str, parameters: Any, decay: float) -> Iterator[tuple[str, list[nn.Parameter], float]]:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    yield part, [p for p in trained if p.ndim >= 2 or not decay], decay
    yield f"{part}{VECTORS}", [p for p in trained if p.ndim < 2 and decay], 0.0
