"""Training stages as LightningModules: alignment pretraining and visual instruction tuning."""

from fusionscope.stages.base import VLMStage
from fusionscope.stages.config import LoraSettings, PartConfig
from fusionscope.stages.llava import AlignmentPretraining, VisualInstructionTuning
from fusionscope.stages.loss import NonFiniteLossError

__all__ = [
    "AlignmentPretraining",
    "LoraSettings",
    "NonFiniteLossError",
    "PartConfig",
    "VLMStage",
    "VisualInstructionTuning",
]
