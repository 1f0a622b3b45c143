"""From rendered conversations and images to token ids and pixels: what families share of their training encoders."""

from fusionscope.lvlm.encoders.base import Encoded, Encoder, Images, Rendered
from fusionscope.lvlm.encoders.expanding import ExpandingEncoder, LeadingImageEncoder
from fusionscope.lvlm.encoders.image_first import ImageFirstEncoder, Offsets, padded_rows

__all__ = [
    "Encoded",
    "Encoder",
    "ExpandingEncoder",
    "ImageFirstEncoder",
    "Images",
    "LeadingImageEncoder",
    "Offsets",
    "Rendered",
    "padded_rows",
]
