"""Models of a few thousand random weights, built offline: for tests, benchmarks and trying an adapter.

They have the architecture of the real models and nothing else: widths of a few dozen, a byte-level tokenizer, no
knowledge. Where a family ignores the image at initialisation (zero gates, queries or projections), those weights are
drawn too.
"""

from fusionscope.lvlm.miniatures.build import miniature
from fusionscope.lvlm.miniatures.pieces import DECODER, IMAGE_SIZE, PATCH, SIDES, VISION, composed, draw, mrope
from fusionscope.lvlm.miniatures.tokenizer import tokenizer

__all__ = [
    "DECODER",
    "IMAGE_SIZE",
    "PATCH",
    "SIDES",
    "VISION",
    "composed",
    "draw",
    "miniature",
    "mrope",
    "tokenizer",
]
