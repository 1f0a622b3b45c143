"""Collections of odd inputs: what a person may hand over, and what has to come of it."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

WHITE = (255, 255, 255)
_EXIF_INVERSE = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True)
class OddImage:
    """An image file and the RGB pixels that a viewer shows, [H][W], or None where it has to be refused."""

    name: str
    content: bytes
    pixels: np.ndarray | None


def saved(image: Image.Image, kind: str, **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def scene() -> Image.Image:
    """An image that no turn or mirror leaves as it is."""
    pixels = np.zeros((4, 6, 3), dtype=np.uint8)
    pixels[0, :3] = (255, 0, 0)
    pixels[1, 0] = (0, 255, 0)
    pixels[3, 5] = (0, 0, 255)
    return Image.fromarray(pixels)


def with_exif(orientation: int, kind: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = _EXIF_INVERSE[orientation]
    stored = scene() if turn is None else scene().transpose(turn)
    return saved(stored, kind, exif=exif)


def half_clear(mode: str) -> Image.Image:
    """Left half transparent (its colour hidden), right half grey."""
    image = Image.new("LA", (6, 4), (0, 0))
    image.paste((90, 255), (3, 0, 6, 4))
    return image.convert(mode)


def clear_palette() -> bytes:
    image = Image.new("P", (6, 4), 0)
    image.putpalette([0, 0, 0, 90, 90, 90])
    image.paste(1, (3, 0, 6, 4))
    return saved(image, "PNG", transparency=0)


def clear_colour() -> bytes:
    image = Image.new("RGB", (6, 4), (1, 2, 3))
    image.paste((90, 90, 90), (3, 0, 6, 4))
    return saved(image, "PNG", transparency=(1, 2, 3))


def half_white() -> np.ndarray:
    pixels = np.full((4, 6, 3), 255, dtype=np.uint8)
    pixels[:, 3:] = 90
    return pixels


def grey(*values: int) -> np.ndarray:
    return np.repeat(np.array([values], dtype=np.uint8)[:, :, None], 3, axis=2)


def animated(kind: str) -> bytes:
    frames = [scene(), Image.new("RGB", (6, 4), (9, 9, 9))]
    return saved(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )


def ramp(*values: float) -> Image.Image:
    return Image.fromarray(np.array([values], dtype=np.float32))


def odd_images() -> list[OddImage]:
    upright = np.asarray(scene())
    png = saved(scene(), "PNG")
    deep = Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16))
    bomb = bytearray(png)
    bomb[16:24] = (40_000).to_bytes(4, "big") * 2
    good = {
        **{f"exif{i}.png": (with_exif(i), upright) for i in _EXIF_INVERSE},
        "alpha_rgba.png": (saved(half_clear("RGBA"), "PNG"), half_white()),
        "alpha_la.png": (saved(half_clear("LA"), "PNG"), half_white()),
        "alpha_palette.png": (clear_palette(), half_white()),
        "alpha_colour.png": (clear_colour(), half_white()),
        "alpha_rgba.webp": (saved(half_clear("RGBA"), "WEBP", lossless=True), half_white()),
        "sixteen.png": (saved(deep, "PNG"), grey(0, 128, 255)),
        "sixteen.tiff": (saved(deep, "TIFF"), grey(0, 128, 255)),
        "thirty_two.tiff": (
            saved(Image.fromarray(np.array([[0, 500, 1000]], dtype=np.int32)), "TIFF"),
            grey(0, 128, 255),
        ),
        "float.tiff": (saved(ramp(0.0, 0.5, 1.0), "TIFF"), grey(0, 128, 255)),
        "cmyk.tiff": (saved(Image.new("CMYK", (6, 4), (0, 255, 255, 0)), "TIFF"), np.full((4, 6, 3), (255, 0, 0))),
        "one_bit.png": (saved(scene().convert("L").point(lambda p: 255 * (p > 99)).convert("1"), "PNG"), None),
        "palette.gif": (saved(scene(), "GIF"), upright),
        "animated.gif": (animated("GIF"), upright),
        "animated.png": (animated("PNG"), upright),
        "animated.webp": (animated("WEBP"), upright),
        "one_pixel.png": (saved(Image.new("RGB", (1, 1), (7, 8, 9)), "PNG"), np.full((1, 1, 3), (7, 8, 9))),
        "three_by_three.png": (saved(scene().resize((3, 3), Image.Resampling.NEAREST), "PNG"), None),
        "thin.png": (saved(Image.new("RGB", (2000, 8), (5, 6, 7)), "PNG"), np.full((8, 2000, 3), (5, 6, 7))),
        "wrong_ending.jpg": (png, upright),
    }
    for name in ("one_bit.png", "three_by_three.png"):
        content = good[name][0]
        good[name] = (content, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    bad = {
        "nan.tiff": saved(ramp(0.0, float("nan"), 1.0), "TIFF"),
        "infinite.tiff": saved(ramp(0.0, float("inf"), 1.0), "TIFF"),
        "truncated.png": png[: len(png) // 2],
        "truncated.jpg": saved(scene().resize((60, 40)), "JPEG")[:-200],
        "bomb.png": bytes(bomb),
        "page.png": b"<html>",
        "empty.png": b"",
    }
    images = [OddImage(name, content, np.asarray(pixels, dtype=np.uint8)) for name, (content, pixels) in good.items()]
    return images + [OddImage(name, content, None) for name, content in bad.items()]


ODD_TEXTS = {
    "mark": "\ufeffIs it?",
    "quotes": 'It\'s "so" 5" wide, ""twice""?',
    "lines": "one\u2028two\x85three\nfour\r\nfive",
    "signs": "🙂 你好 Grüße ١٢ עברית e\u0301",
    "markup": "<b>a</b> {x} [y] \\n \\ud83d %s {{z}}",
    "role words": "USER: hi ASSISTANT: ho </s> <s> <unk> [INST] <|im_end|>",
    "digits first": "7 is it?",
    "tab": "a\tb",
    "long": "is it " * 400,
    "zero width": "a\u200bb\u00a0c\u00add",
}

ODD_ROWS = {
    "no image key": ({}, "image"),
    "empty image": ({"image": ""}, "image"),
    "image of a number": ({"image": 1.5}, "image"),
    "image true": ({"image": True}, "image"),
    "image of a list": ({"image": [["a.png"]]}, "image"),
    "address": ({"image": "https://a/b.png"}, "image"),
    "out of the folder": ({"image": "../../a.png"}, "image"),
    "nul": ({"image": "a\0.png"}, "image"),
    "too long": ({"image": "a" * 5000}, "image"),
}


@pytest.fixture(scope="session")
def images() -> list[OddImage]:
    return odd_images()


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    return ODD_TEXTS


@pytest.fixture(scope="session")
def rows() -> dict[str, tuple[dict, str]]:
    return ODD_ROWS


@pytest.fixture(scope="session")
def pixels_of() -> Callable[[Image.Image], np.ndarray]:
    return lambda image: np.asarray(image)
