"""Training data of stages 1 and 2: conversations about rendered scenes, in the format of LLaVA's JSON files."""

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal

import torch
from PIL import Image
from torch.utils.data import Dataset

from fusionscope.errors import InputError
from fusionscope.sandbox import language
from fusionscope.sandbox.world import (
    COLOURS,
    LETTERS,
    NOUNS,
    SHAPES,
    Scene,
    background_question,
    colour_question,
    hint_question,
    render,
    scenes,
    split,
)

CaptionForm = Literal["raster", "list", "half"]
Part = Literal["train", "held_out"]
Turn = tuple[str, str]
Conversation = dict[str, Any]


def captions(chosen: Sequence[Scene], n: int, *, form: CaptionForm = "raster", seed: int) -> list[Conversation]:
    """Captions for alignment (stage 1).

    The form decides whether synergy shows before instruction tuning: from raster-order captions the frozen language
    model learns nothing it can look up by shape, from lists it does. So a run declares its form.

    Args:
        chosen: Scenes to draw from.
        n: How many conversations.
        form: ``"raster"``: one word per cell in raster order; ``"list"``: each shape with its colour, in random order;
            ``"half"``: one of the two, by chance.
        seed: Seed of the draw.

    Raises:
        InputError: An unknown form.
    """
    if form not in ("raster", "list", "half"):
        raise InputError(f"caption form {form!r}", "it is raster, list or half", "set form to one of them")
    rng = Random(seed)
    share = {"raster": 1.0, "list": 0.0, "half": 0.5}[form]
    return [_conversation(scene, *_caption(scene, share, rng)) for scene in rng.choices(chosen, k=n)]


def instructions(chosen: Sequence[Scene], n: int, *, seed: int) -> list[Conversation]:
    """The instruction mix (stage 2), half of it questions that need image and question.

    Args:
        chosen: Scenes to draw from.
        n: How many conversations.
        seed: Seed of the draw.
    """
    rng = Random(seed)
    makers = rng.choices([make for _, make in MIX], weights=[share for share, _ in MIX], k=n)
    return [
        _conversation(scene, *make(scene, rng)) for make, scene in zip(makers, rng.choices(chosen, k=n), strict=True)
    ]


def load_image(name: str) -> Image.Image:
    """Render the image that a conversation names.

    Args:
        name: ``scene-0000.png`` to ``scene-2303.png``.
    """
    return render(scenes()[int(name.removeprefix("scene-").removesuffix(".png"))])


class Conversations(Dataset[Conversation]):
    """Conversations whose images are rendered when asked for: rows as `fusionscope.data.LlavaDataModule` takes them.

    Args:
        rows: Conversations that name their image.
    """

    def __init__(self, rows: Sequence[Conversation]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Conversation:
        row = self.rows[index]
        return {**row, "image": load_image(row["image"])}


class Captions(Conversations):
    """Training or validation data of stage 1.

    Args:
        n: How many conversations: for one epoch, steps times batch size.
        form: The declared caption form: ``"raster"``, ``"list"`` or ``"half"`` (see `captions`).
        part: Draw from the training scenes or from the held-out ones.
        seed: Seed of the draw; None takes the global seed (``seed_everything``).
    """

    def __init__(self, n: int, form: CaptionForm = "raster", part: Part = "train", seed: int | None = None) -> None:
        super().__init__(captions(_scenes(part), n, form=form, seed=_seed(seed)))


class Instructions(Conversations):
    """Training or validation data of stage 2.

    Args:
        n: How many conversations: for one epoch, steps times batch size.
        part: Draw from the training scenes or from the held-out ones.
        seed: Seed of the draw; None takes the global seed (``seed_everything``).
    """

    def __init__(self, n: int, part: Part = "train", seed: int | None = None) -> None:
        super().__init__(instructions(_scenes(part), n, seed=_seed(seed)))


def blind_caption_loss() -> float:
    """The least loss, in nats per token, that captions in raster order allow without the image.

    Two uniform permutations of four, spread over four words and the end sign: 2 ln(24) / 5 = 1.271.
    """
    return 2 * math.log(24) / 5


def _scenes(part: Part) -> tuple[Scene, ...]:
    if part not in ("train", "held_out"):
        raise InputError(f"part {part!r}", "scenes are trained on or held out", "set part to train or held_out")
    return split()[part == "held_out"]


def _seed(seed: int | None) -> int:
    return torch.initial_seed() if seed is None else seed


def _conversation(scene: Scene, question: str, answer: str) -> Conversation:
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    name = f"scene-{scene.index:04d}"
    return {"id": name, "image": f"{name}.png", "conversations": turns}


def _caption(scene: Scene, raster_share: float, rng: Random) -> Turn:
    if rng.random() < raster_share:
        return "describe the picture", language.caption(scene)
    return "list the shapes", language.listing(scene, rng)


def _synergy(scene: Scene, rng: Random) -> Turn:
    shape = rng.randrange(4)
    return colour_question(SHAPES[shape]), LETTERS[scene.colour_of(shape)]


def _background(scene: Scene, rng: Random) -> Turn:
    return background_question(rng.randrange(2)), LETTERS[scene.background]


def _knowledge(scene: Scene, rng: Random) -> Turn:
    noun = rng.choice(tuple(NOUNS))
    return colour_question(noun), LETTERS[COLOURS.index(NOUNS[noun])]


def _hint(scene: Scene, rng: Random) -> Turn:
    return hint_question(scene.background), LETTERS[scene.background]


def _describe(scene: Scene, rng: Random) -> Turn:
    return "describe the picture", language.caption(scene)


MIX: tuple[tuple[float, Callable[[Scene, Random], Turn]], ...] = (
    (0.50, _synergy),
    (0.15, _background),
    (0.15, _knowledge),
    (0.10, _hint),
    (0.10, _describe),
)
