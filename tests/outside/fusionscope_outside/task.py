"""A held-out task from outside: clocks, drawn when they are looked at, and questions that need the clock or don't."""

import math
from functools import partial

import torch
from PIL import Image, ImageDraw

from fusionscope.errors import UnknownNameError
from fusionscope.tasks import DrawnImage, HeldOutTask, LazyImages, Question, uniform_weights

HOURS = (12, 3, 6, 9)
ANSWERS = tuple(map(str, HOURS))
QUESTIONS = ("what hour does the clock show ?", "what hour is three hours later ?", "how many months has a year ?")


def load(variant: str = "", *, sizes: int = 6) -> HeldOutTask:
    """Clocks that show one of four hours.

    Args:
        variant: There is none.
        sizes: Number of sizes in which each hour is drawn; the images are four times as many.

    Raises:
        UnknownNameError: A variant was named.
    """
    if variant:
        raise UnknownNameError(f"variant {variant!r} of the task clock", "there is none", "use 'clock'")
    clocks = [(place, 24 + 2 * size) for size in range(sizes) for place in range(len(HOURS))]
    names = [f"{HOURS[place]}-{side}.png" for place, side in clocks]
    truth = torch.tensor([[place, (place + 1) % len(HOURS), HOURS.index(12)] for place, _ in clocks])
    return HeldOutTask(
        name="clock",
        images=LazyImages(
            DrawnImage(draw=partial(clock, place, side), name=name)
            for (place, side), name in zip(clocks, names, strict=True)
        ),
        image_ids=names,
        questions=[Question(text=text, candidates=ANSWERS) for text in QUESTIONS],
        answers=ANSWERS,
        pairs=torch.cartesian_prod(torch.arange(len(clocks)), torch.arange(len(QUESTIONS))),
        pair_answers=truth.flatten(),
        crossable=True,
        truth=truth,
        pair_weights={"uniform": uniform_weights(len(clocks), len(QUESTIONS))},
        questions_enumerated=True,
        citation="fusionscope's tests",
        licence="Apache-2.0",
    )


def clock(place: int, side: int) -> Image.Image:
    """A clock face of 32 pixels with one hand, which points up for place 0 and a quarter further for each next one."""
    image = Image.new("RGB", (32, 32), "white")
    pen = ImageDraw.Draw(image)
    edge = (32 - side) / 2
    pen.ellipse((edge, edge, 32 - edge, 32 - edge), outline="black")
    angle = place * math.pi / 2
    pen.line((16, 16, 16 + side / 2 * math.sin(angle), 16 - side / 2 * math.cos(angle)), fill="red", width=3)
    return image
