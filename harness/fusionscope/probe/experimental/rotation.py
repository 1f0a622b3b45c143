"""Circular rotation of options: does a letter stand for an answer, or for itself?"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.lvlm import LVLM
from fusionscope.probe.designs.crossed import Crossed
from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.posteriors import GridPosteriors
from fusionscope.probe.probe import layers_of, lens_of, readable, shown
from fusionscope.probe.spec import ProbeSpec
from fusionscope.tasks import HeldOutTask, Question


def rotated(question: Question, options: Sequence[str], by: int) -> Question:
    """A question whose options are moved on by some places, in its text and among its candidates.

    Args:
        question: Its text lists the options in order, each once.
        options: The options as the text writes them.
        by: How many places.

    Raises:
        InputError: The text does not list the options one after another.

    Example:
        >>> q = Question(text="Which? A. cat B. dog", candidates=("A", "B"))
        >>> rotated(q, ("cat", "dog"), 1).text
        'Which? A. dog B. cat'
    """
    text, pieces, end = question.text, [], 0
    for option in options:
        at = text.find(option, end)
        if at < 0:
            raise InputError(
                f"option {option!r} in the question {text[:80]!r}",
                "rotation moves options that the text lists in their order",
                "give the options as they are written, or probe without rotation",
            )
        pieces.append(text[end:at])
        end = at + len(option)
    moved = [*options[by:], *options[:by]]
    parts = [part for pair in zip(pieces, moved, strict=True) for part in pair]
    return replace(question, text="".join(parts) + text[end:])


def rotation_posteriors(
    lvlm: LVLM,
    task: HeldOutTask,
    options: Sequence[Sequence[str]],
    spec: ProbeSpec = ProbeSpec(),  # noqa: B008 (frozen)
    *,
    execution: Execution = Execution(),  # noqa: B008 (frozen)
) -> GridPosteriors:
    """Posteriors over the answers themselves, averaged over all rotations of the options.

    A preference for a letter then weighs on every answer alike.

    Args:
        lvlm: The model.
        task: A crossable task with lettered options.
        options: The K options of each question as its text writes them.
        spec: What to measure; the design is the crossed one.
        execution: How to run.

    Returns:
        Posteriors of the crossed design; ``details["letter_bias"]`` is the mean total variation between the answer's
        distribution in one rotation and the mean over rotations, at the last of the layers.

    Raises:
        InputError: The task cannot be crossed, its options are not listed, or a lens is worse than the logit lens.
        DataError: More images than the specification allows cannot be read.
    """
    count = len(task.answers)
    task, lens = shown(lvlm, readable(task, spec), spec), lens_of(lvlm, spec)
    layers = layers_of(lvlm, task, spec, lens, execution)
    rotations: list[tuple[GridPosteriors, Tensor]] = []
    for by in range(count):
        questions = [rotated(q, o, by) for q, o in zip(task.questions, options, strict=True)]
        grid = Crossed().posteriors(lvlm, replace(task, questions=questions), layers, lens, spec, execution)
        # Letter k stands for answer k + by: put every answer's probability back in its place.
        rotations.append((grid, grid.conditionals.roll(by, dims=-1)))
    mean = torch.stack([p for _, p in rotations]).mean(0)
    bias = torch.stack([(p[-1] - mean[-1]).abs().sum(-1).mean() / 2 for _, p in rotations]).mean()
    last = rotations[-1][0]
    return replace(
        last,
        conditionals=mean,
        mass=torch.stack([grid.mass for grid, _ in rotations]).mean(0),
        seconds=sum(grid.seconds for grid, _ in rotations),
        tokens=sum(grid.tokens for grid, _ in rotations),
        details={**last.details, "rotations": float(count), "letter_bias": float(bias)},
    )
