"""Lenses: from a hidden state inside the model to the answer it would give there."""

from fusionscope.lens.logit import Lens, LogitLens, option_logits

__all__ = ["Lens", "LogitLens", "option_logits"]
