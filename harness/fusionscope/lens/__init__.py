"""Lenses: from a hidden state inside the model to the answer it would give there."""

from fusionscope.lens.logit import Lens, LogitLens, option_logits
from fusionscope.lens.tuned import TunedLens

__all__ = ["Lens", "LogitLens", "TunedLens", "option_logits"]
