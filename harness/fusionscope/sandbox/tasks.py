"""Held-out tasks of the sandbox, one per question family, each with the truth of every pair."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Literal

import torch
from torch import Tensor

from fusionscope.errors import InputError, UnknownNameError
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
    options,
    rank,
    render,
    scenes,
    split,
)
from fusionscope.tasks import DrawnImage, HeldOutTask, LazyImages, Question, uniform_weights

VARIANTS = ("synergy", "knowledge", "vision", "redundant")
BLOCK = 48


def balanced(n: int, seed: int = 0) -> tuple[Scene, ...]:
    """A balanced subset of the held-out scenes.

    The 12 orders of the shapes of either parity are paired with the 12 orders of the colours of either parity in cyclic
    shifts. A block of 48 scenes is one shift for each of the four pairs of parities: it has every order twice, so every
    (cell, shape), every (cell, colour) and every background equally often. Subsets of one seed are nested.

    Args:
        n: How many scenes: a multiple of 48 up to 576.
        seed: Seed of the order in which scenes join.

    Raises:
        InputError: Another number of scenes.
    """
    rest = split()[1]
    if n % BLOCK or not 0 < n <= len(rest):
        raise InputError(
            f"images={n!r}",
            f"a balanced subset of the {len(rest)} held-out scenes has a multiple of {BLOCK}",
            f"use a multiple of {BLOCK} up to {len(rest)}, or images='all' for every scene of the world",
        )
    by_orders = {(rank(scene.shapes), rank(scene.colours)): scene for scene in rest}
    rng = Random(seed)
    parities = ((False, False), (True, False), (False, True), (True, True))
    shapes, colours = ({odd: _shuffled_ranks(rng) for odd in (False, True)} for _ in range(2))
    return tuple(
        by_orders[(shapes[odd_shapes][i], odd_shapes), (colours[odd_colours][(i + shift) % 12], odd_colours)]
        for shift in range(n // BLOCK)
        for odd_shapes, odd_colours in parities
        for i in range(12)
    )


def _shuffled_ranks(rng: Random) -> list[int]:
    """The ranks 0 to 11, shuffled among those that are equal modulo 4, which keeps backgrounds balanced."""
    columns = [rng.sample(range(residue, 12, 4), 3) for residue in range(4)]
    return [columns[i % 4][i // 4] for i in range(12)]


def load(variant: str, *, images: int | Literal["all"] = 576, seed: int = 0) -> HeldOutTask:
    """A held-out task of the sandbox.

    Args:
        variant: ``"synergy"`` (true S = 2 bits), ``"knowledge"`` (true U2 = 2), ``"vision"`` (true U1 = 2) or
            ``"redundant"`` (true R = 2 under natural weights, where the hint tells what the image shows).
        images: How many held-out scenes, a multiple of 48 up to 576; or ``"all"`` for the 2304 scenes of the world.
        seed: Which balanced subset.

    Raises:
        UnknownNameError: An unknown variant.
        InputError: A number of images that no balanced subset has.
    """
    if variant not in _FAMILIES:
        raise UnknownNameError(
            f"unknown sandbox task {variant!r}",
            f"known are {', '.join(f'sandbox/{name}' for name in VARIANTS)}",
            "use one of them",
        )
    chosen = scenes() if images == "all" else balanced(images, seed)
    texts, answers, answer_of = _FAMILIES[variant]
    truth, world = (
        torch.tensor([[answer_of(scene, b) for b in range(len(texts))] for scene in some])
        for some in (chosen, scenes())
    )
    pairs = (truth >= 0).nonzero()
    return HeldOutTask(
        name=f"sandbox/{variant}",
        images=LazyImages(DrawnImage(draw=partial(render, scene), name=_file_name(scene)) for scene in chosen),
        image_ids=tuple(map(_file_name, chosen)),
        questions=tuple(Question(text=text, candidates=LETTERS, blanked=options(answers)) for text in texts),
        answers=answers,
        pairs=pairs,
        pair_answers=truth[truth >= 0],
        crossable=True,
        truth=truth,
        pair_weights=_weights(truth),
        images_enumerated=images == "all",
        images_balanced=images != "all" and torch.equal(_frequencies(truth), _frequencies(world)),
        questions_enumerated=True,
        citation="fusionscope's sandbox, a rendered world",
        licence="Apache-2.0",
    )


def _frequencies(truth: Tensor) -> Tensor:
    """How often each answer is the right one to each question, in parts of 2304: [B, K].

    Every cell and shape, and every cell and colour, are equally frequent in all subsets; shapes and colours together,
    on which synergy rests, only in the whole held-out split.
    """
    counts = torch.nn.functional.one_hot(truth.clamp(min=0), len(LETTERS)) * (truth >= 0)[..., None]
    return counts.sum(0) * (len(scenes()) // len(truth))


def _file_name(scene: Scene) -> str:
    return f"scene-{scene.index:04d}.png"


def _weights(truth: Tensor) -> dict[str, Tensor]:
    """Uniform weights, and natural ones where some pairs never occur: those in which hint and image differ."""
    weights = {"uniform": uniform_weights(*truth.shape)}
    occurs = (truth >= 0).double()
    return weights if bool(occurs.all()) else weights | {"natural": occurs / occurs.sum()}


_Family = tuple[tuple[str, ...], tuple[str, ...], Callable[[Scene, int], int]]
_FAMILIES: dict[str, _Family] = {
    "synergy": (tuple(map(colour_question, SHAPES)), COLOURS, Scene.colour_of),
    "knowledge": (tuple(map(colour_question, NOUNS)), COLOURS, lambda _, b: COLOURS.index(tuple(NOUNS.values())[b])),
    "vision": (tuple(map(background_question, range(2))), BACKGROUNDS, lambda scene, _: scene.background),
    "redundant": (
        tuple(map(hint_question, range(4))),
        BACKGROUNDS,
        lambda scene, b: b if b == scene.background else -1,
    ),
}
