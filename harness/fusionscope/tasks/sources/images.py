"""The one way to open an image: training and probing see the same pixels."""

import os
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from fusionscope.errors import BadImageError

_ORIENTATION = 0x0112


def open_image(file: str | os.PathLike[str] | BinaryIO | Image.Image, name: str) -> Image.Image:
    """An image as `as_rgb` shows it.

    Args:
        file: A path, an open binary file, or an image that is open already.
        name: What messages call it.

    Raises:
        BadImageError: It is missing or cannot be read.
    """
    try:
        if isinstance(file, Image.Image):
            return as_rgb(file)
        with Image.open(file) as image:
            return as_rgb(image)
    except Exception as error:  # of damaged bytes Pillow's plugins raise anything: TypeError and KeyError as well
        raise BadImageError(
            f"image {name!r} cannot be read: {error}",
            "it is missing, damaged, or no image",
            "restore the file, or allow a few to be left out (max_bad_images)",
        ) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """An image as a viewer shows it, in RGB.

    Upright (EXIF), transparent parts on white, 8 bits a channel (`eight_bits`), the first of several frames.

    Raises:
        ValueError: It has values that are no numbers.
    """
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    image = eight_bits(image)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def eight_bits(image: Image.Image) -> Image.Image:
    """An image with 8 bits a channel: of more, Pillow's own conversion makes all above 255 white.

    Sixteen bits are scaled to eight; 32-bit integers and floats are stretched from their least to their largest value.

    Raises:
        ValueError: It has non-finite values, which stretch to nothing.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) // 257).astype(np.uint8))
    if image.mode not in ("I", "F"):
        return image
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it has non-finite values")
    low, span = float(values.min()), float(np.ptp(values))
    grey = np.clip(values if span == 0 else (values - low) * (255 / span), 0, 255)
    return Image.fromarray(grey.round().astype(np.uint8))
