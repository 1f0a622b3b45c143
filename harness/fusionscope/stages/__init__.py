"""Training stages as LightningModules: alignment pretraining and visual instruction tuning."""

from fusionscope.stages.base import VLMStage
from fusionscope.stages.config import LoraSettings, PartConfig, QuantizationSettings
from fusionscope.stages.llava import AlignmentPretraining, VisualInstructionTuning
from fusionscope.stages.loss import NonFiniteLossError

__all__ = [
    "AlignmentPretraining",
    "LoraSettings",
    "NonFiniteLossError",
    "PartConfig",
    "QuantizationSettings",
    "VLMStage",
    "VisualInstructionTuning",
]
