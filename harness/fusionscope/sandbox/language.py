"""The synthetic language of stage 0: what the language model learns before it sees.

Scenes appear here as text, so the language model can answer every question of the world before it gets eyes, and what
alignment (stage 1) and instruction tuning (stage 2) add is the image, not the skill.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from fusionscope.sandbox.world import (
    BACKGROUNDS,
    COLOURS,
    LETTERS,
    NOUNS,
    SHAPES,
    Scene,
    background_question,
    colour_question,
    hint_question,
)


@dataclass(frozen=True, kw_only=True)
class Example:
    """One text of the language.

    Args:
        prompt: The user's turn; empty for a plain statement, of which every word is supervised.
        answer: The assistant's turn, or the statement.
    """

    prompt: str
    answer: str


def caption(scene: Scene) -> str:
    """The declared caption form ``raster``: one word per cell, in raster order."""
    return " ".join(scene.words)


def listing(scene: Scene, rng: Random) -> str:
    """The caption form ``list``: each shape with its colour, in random order."""
    order = rng.sample(range(4), 4)
    return " ".join(f"{SHAPES[s]} {COLOURS[scene.colour_of(s)]}" for s in order)


def text_scene(scene: Scene, rng: Random) -> str:
    """A scene as text: its words in raster order, the background word at a random place."""
    words = list(scene.words)
    words.insert(rng.randrange(5), BACKGROUNDS[scene.background])
    return f"scene {' '.join(words)} ."


def synergy(scene: Scene, rng: Random) -> Example:
    """A question that needs the scene and the question."""
    shape = rng.randrange(4)
    prompt = f"{text_scene(scene, rng)} {colour_question(SHAPES[shape])}"
    return Example(prompt=prompt, answer=LETTERS[scene.colour_of(shape)])


def background(scene: Scene, rng: Random) -> Example:
    """A question that the scene alone answers."""
    prompt = f"{text_scene(scene, rng)} {background_question(rng.randrange(2))}"
    return Example(prompt=prompt, answer=LETTERS[scene.background])


def describe(scene: Scene, rng: Random) -> Example:
    """A caption in raster order."""
    return Example(prompt=f"{text_scene(scene, rng)} describe the picture", answer=caption(scene))


def list_shapes(scene: Scene, rng: Random) -> Example:
    """A caption in the other form."""
    return Example(prompt=f"{text_scene(scene, rng)} list the shapes", answer=listing(scene, rng))


def knowledge(scene: Scene, rng: Random) -> Example:
    """A question that the language alone answers; half of them with a scene that distracts."""
    noun = rng.choice(tuple(NOUNS))
    question = colour_question(noun)
    prompt = f"{text_scene(scene, rng)} {question}" if rng.random() < 0.5 else question
    return Example(prompt=prompt, answer=LETTERS[COLOURS.index(NOUNS[noun])])


def statement(scene: Scene, rng: Random) -> Example:
    """A fact or a scene as plain text."""
    noun = rng.choice(tuple(NOUNS))
    return Example(prompt="", answer=rng.choice((f"the colour is {NOUNS[noun]} . {noun}", text_scene(scene, rng))))


def hint(scene: Scene, rng: Random) -> Example:
    """A question with the answer in a hint; half of them with a scene that tells the same."""
    question = hint_question(scene.background)
    prompt = f"{text_scene(scene, rng)} {question}" if rng.random() < 0.5 else question
    return Example(prompt=prompt, answer=LETTERS[scene.background])


def guess(scene: Scene, rng: Random) -> Example:
    """A question about a scene that is not there: any letter is as good as another."""
    question = rng.choice((colour_question(rng.choice(SHAPES)), background_question(rng.randrange(2))))
    return Example(prompt=question, answer=rng.choice(LETTERS))


MIX: tuple[tuple[float, Callable[[Scene, Random], Example]], ...] = (
    (0.40, synergy),
    (0.15, list_shapes),
    (0.12, describe),
    (0.10, knowledge),
    (0.08, background),
    (0.08, hint),
    (0.04, guess),
    (0.03, statement),
)


def sample(scenes: Sequence[Scene], n: int, rng: Random) -> list[Example]:
    """Draw texts of the language.

    Args:
        scenes: Scenes to draw from.
        n: How many texts.
        rng: Source of randomness.
    """
    makers = rng.choices([make for _, make in MIX], weights=[share for share, _ in MIX], k=n)
    return [make(rng.choice(scenes), rng) for make in makers]
