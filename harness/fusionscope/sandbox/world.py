"""The rendered world: scenes, their images, the split, and the questions whose answers are known.

A scene is a 2x2 grid. Each cell holds one of four shapes, each shape once, in one of four colours, each colour once,
on one of four backgrounds: 24 * 24 * 4 = 2304 scene classes. A class has exactly one image, so a sum over classes is
a sum over images, and the decision function of a model can be enumerated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations

from PIL import Image, ImageDraw

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = ("red", "green", "blue", "yellow")
BACKGROUNDS = ("black", "white", "gray", "brown")
NOUNS: Mapping[str, str] = {"cherry": "red", "leaf": "green", "sky": "blue", "banana": "yellow"}
LETTERS = ("A", "B", "C", "D")
N_SCENES = 24 * 24 * 4
IMAGE_SIZE = 32

_RGB = {
    "red": (230, 30, 30),
    "green": (30, 190, 60),
    "blue": (40, 80, 240),
    "yellow": (240, 220, 40),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "gray": (128, 128, 128),
    "brown": (110, 60, 25),
}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What one image shows.

    Args:
        index: Its number among all scene classes, in [0, 2304).
        shapes: Index into `SHAPES` of each cell, in raster order.
        colours: Index into `COLOURS` of each cell, in raster order.
        background: Index into `BACKGROUNDS`.
    """

    index: int
    shapes: tuple[int, ...]
    colours: tuple[int, ...]
    background: int

    @property
    def words(self) -> tuple[str, ...]:
        """One word per cell, in raster order.

        >>> scenes()[0].words
        ('red-circle', 'green-square', 'blue-triangle', 'yellow-cross')
        """
        return tuple(f"{COLOURS[c]}-{SHAPES[s]}" for s, c in zip(self.shapes, self.colours, strict=True))

    def colour_of(self, shape: int) -> int:
        """Index of the colour of a shape."""
        return self.colours[self.shapes.index(shape)]


@cache
def scenes() -> tuple[Scene, ...]:
    """All 2304 scene classes, in a fixed order."""
    orders = tuple(permutations(range(4)))
    combinations = [(s, c, b) for s in orders for c in orders for b in range(4)]
    return tuple(Scene(index=i, shapes=s, colours=c, background=b) for i, (s, c, b) in enumerate(combinations))


def render(scene: Scene) -> Image.Image:
    """The one image of a scene class, RGB, 32 x 32."""
    image = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), _RGB[BACKGROUNDS[scene.background]])
    draw = ImageDraw.Draw(image)
    half = IMAGE_SIZE // 2
    for cell, (shape, colour) in enumerate(zip(scene.shapes, scene.colours, strict=True)):
        _draw_shape(draw, SHAPES[shape], (cell % 2) * half + 2, (cell // 2) * half + 2, _RGB[COLOURS[colour]])
    return image


def _draw_shape(draw: ImageDraw.ImageDraw, shape: str, x: int, y: int, colour: tuple[int, int, int]) -> None:
    """Draw one shape into the 12 x 12 box whose upper left corner is (x, y)."""
    if shape == "circle":
        draw.ellipse((x, y, x + 11, y + 11), fill=colour)
    elif shape == "square":
        draw.rectangle((x, y, x + 11, y + 11), fill=colour)
    elif shape == "triangle":
        draw.polygon([(x, y + 11), (x + 11, y + 11), (x + 5, y)], fill=colour)
    else:
        draw.rectangle((x + 4, y, x + 7, y + 11), fill=colour)
        draw.rectangle((x, y + 4, x + 11, y + 7), fill=colour)


def held_out(scene: Scene) -> bool:
    """Whether a scene class is never trained on: 576 of 2304, one background of every pair of orders.

    Training sees each order of shapes with each order of colours, but on the three other backgrounds only. The
    held-out background follows from both orders in such a way that the held-out scenes stand for the world: every
    (cell, shape, colour), (cell, shape, background) and (cell, colour, background) is equally frequent among them, so
    a sum over them is close to the sum over all 2304 (half-trained models: within 0.011 bits in every atom).
    """
    shape_rank, _ = rank(scene.shapes)
    colour_rank, odd = rank(scene.colours)
    return scene.background == (shape_rank + colour_rank + odd) % 4


def split() -> tuple[tuple[Scene, ...], tuple[Scene, ...]]:
    """Training scenes (1728) and held-out scenes (576)."""
    return tuple(s for s in scenes() if not held_out(s)), tuple(s for s in scenes() if held_out(s))


@cache
def rank(order: tuple[int, ...]) -> tuple[int, bool]:
    """Place of a permutation among those of its parity, in [0, 12), and whether it is odd.

    >>> rank((0, 1, 2, 3)), rank((3, 2, 1, 0))
    ((0, False), (11, False))
    """
    alike = [other for other in permutations(range(4)) if _is_odd(other) == _is_odd(order)]
    return alike.index(order), _is_odd(order)


def _is_odd(order: tuple[int, ...]) -> bool:
    return sum(a > b for i, a in enumerate(order) for b in order[i + 1 :]) % 2 == 1


def options(answers: tuple[str, ...]) -> str:
    """The options as a question shows them, in fixed order.

    >>> options(COLOURS)
    'A red B green C blue D yellow'
    """
    return " ".join(f"{letter} {answer}" for letter, answer in zip(LETTERS, answers, strict=True))


def colour_question(subject: str) -> str:
    """The question after the colour of a shape (synergy) or of a noun (knowledge)."""
    return f"what colour is the {subject} ? {options(COLOURS)}"


def background_question(form: int = 0) -> str:
    """The question after the background; its wording carries nothing about the answer."""
    return f"{('what colour is the background ?', 'what lies behind the shapes ?')[form]} {options(BACKGROUNDS)}"


def hint_question(background: int) -> str:
    """The question after the background with a hint that tells it."""
    return f"hint {BACKGROUNDS[background]} . {background_question()}"
