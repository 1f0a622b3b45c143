"""LLaVA's two stages: the base with the published tune types and learning rates as defaults.

Reference: Liu et al. 2023, "Improved Baselines with Visual Instruction Tuning" (LLaVA-1.5).
"""

from typing import Any

from fusionscope.stages.base import VLMStage
from fusionscope.stages.config import ALIGN_PROJECTOR, FROZEN, INSTRUCT, PartConfig


class AlignmentPretraining(VLMStage):
    """Stage 1: the projector learns, from captions, to speak the language model's language.

    Args:
        model: Hugging Face directory or hub name of the model to start from.
        vision_tower: Frozen by default.
        projector: Trained with learning rate 1e-3 by default.
        language_model: Frozen by default.
        **settings: The other settings of `VLMStage`.
    """

    def __init__(
        self,
        model: str,
        vision_tower: PartConfig = FROZEN,
        projector: PartConfig = ALIGN_PROJECTOR,
        language_model: PartConfig = FROZEN,
        **settings: Any,
    ) -> None:
        super().__init__(model, vision_tower, projector, language_model, **settings)


class VisualInstructionTuning(VLMStage):
    """Stage 2: the language model and the projector learn to answer questions about images.

    Args:
        model: Hugging Face directory or hub name of the model to start from: stage 1's export.
        vision_tower: Frozen by default.
        projector: Trained with learning rate 2e-5 by default.
        language_model: Trained with learning rate 2e-5 by default; ``PartConfig(tune="lora", lr=2e-4)`` for adapters.
        **settings: The other settings of `VLMStage`.
    """

    def __init__(
        self,
        model: str,
        vision_tower: PartConfig = FROZEN,
        projector: PartConfig = INSTRUCT,
        language_model: PartConfig = INSTRUCT,
        **settings: Any,
    ) -> None:
        super().__init__(model, vision_tower, projector, language_model, **settings)
