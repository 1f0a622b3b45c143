"""Settings of a training stage, as recipes and jsonargparse write them."""

from dataclasses import dataclass
from typing import Literal, get_args

from fusionscope.errors import ConfigError

Tune = Literal["frozen", "full", "lora"]


@dataclass(frozen=True, kw_only=True)
class PartConfig:
    """How one part of the model is trained.

    Args:
        tune: ``"frozen"``: no gradient, evaluation mode. ``"full"``: every weight. ``"lora"``: low-rank adapters on the
            part's linear layers, the weights themselves frozen.
        lr: Peak learning rate; needed unless the part is frozen.

    Raises:
        ConfigError: An unknown tune type, or a trained part without a positive learning rate.
    """

    tune: Tune = "frozen"
    lr: float | None = None

    def __post_init__(self) -> None:
        if self.tune not in get_args(Tune):
            raise ConfigError(
                f"tune={self.tune!r}", f"a part is tuned as one of {', '.join(get_args(Tune))}", "use one of these"
            )
        if self.tune != "frozen" and (self.lr is None or self.lr <= 0):
            raise ConfigError(
                f"tune={self.tune!r} with lr={self.lr}", "a trained part needs a learning rate above 0", "set lr"
            )


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters, with the values of LLaVA-1.5's LoRA recipe as defaults.

    Args:
        rank: Rank r of the adapters.
        alpha: The update is scaled by alpha / rank.
        dropout: Dropout before the adapters.
        targets: Regular expression that a linear layer's name inside the part must match (``re.search``);
            every linear layer by default. The output head is never a target.
    """

    rank: int = 128
    alpha: int = 256
    dropout: float = 0.05
    targets: str = ""


@dataclass(frozen=True, kw_only=True)
class QuantizationSettings:
    """The language model's frozen weights in fewer bits, through bitsandbytes: with ``"lora"`` this is QLoRA.

    Vision tower, projector and output head keep their precision. An export merges the adapters into the base model as
    it was before quantization.

    Args:
        bits: 4 (normal float, NF4) or 8.
        double: Quantize the scales of 4-bit weights too.

    Raises:
        ConfigError: Another number of bits.
    """

    bits: Literal[4, 8] = 4
    double: bool = True

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ConfigError(f"quantization.bits={self.bits}", "weights are stored in 4 or 8 bits", "use 4 or 8")


FROZEN = PartConfig()
LORA = LoraSettings()
ALIGN_PROJECTOR = PartConfig(tune="full", lr=1e-3)  # LLaVA-1.5, stage 1
INSTRUCT = PartConfig(tune="full", lr=2e-5)  # LLaVA-1.5, stage 2
