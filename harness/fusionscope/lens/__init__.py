"""Lenses: from a hidden state inside the model to the answer it would give there."""

from fusionscope.lens.compare import LensComparison, divergence
from fusionscope.lens.logit import Lens, LogitLens, option_logits
from fusionscope.lens.tuned import TunedLens, name_in

__all__ = ["Lens", "LensComparison", "LogitLens", "TunedLens", "divergence", "name_in", "option_logits"]
