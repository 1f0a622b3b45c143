"""A training stage from outside: only the vectors of the trained parts (biases, norms) learn.

Reference: Ben Zaken et al. 2022, "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
Language-models".
"""

from dataclasses import dataclass
from typing import Any

from fusionscope.lvlm import LVLM
from fusionscope.stages import VisualInstructionTuning


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """Which vectors learn.

    Args:
        norms: The scales of norms too, and not only biases.
    """

    norms: bool = True


class BiasTuning(VisualInstructionTuning):
    """Visual instruction tuning of biases and norms.

    Args:
        model: Hugging Face directory or hub name of the model to start from.
        vectors: Which vectors learn.
        **settings: The other settings of `fusionscope.stages.VisualInstructionTuning`.
    """

    def __init__(self, model: str, vectors: Vectors = Vectors(), **settings: Any) -> None:
        super().__init__(model, **settings)
        self.vectors = vectors

    def attach(self, lvlm: LVLM) -> None:
        """Take a model, and freeze the matrices of its trained parts."""
        super().attach(lvlm)
        for name, parameter in self.network.named_parameters():
            if parameter.ndim >= 2 or not (self.vectors.norms or name.endswith("bias")):
                parameter.requires_grad_(False)
