"""What is true: the PID of the world, and the PID of a model's own decision function, both without sampling.

The population is the world: all 2304 scene classes, each with its one image, and all questions of the family. A probe
of a subset of images estimates this; here it is computed from every pair.

Shapes: L layers, A images, B questions, K answers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.lvlm import LVLM
from fusionscope.pid import PIDResult, pid_from_joint
from fusionscope.probe import Execution, ProbeSpec, lens_of
from fusionscope.probe.designs.crossed import Crossed
from fusionscope.sandbox.tasks import load
from fusionscope.tasks import HeldOutTask


def world_pid(variant: str) -> PIDResult:
    """The PID of the world's own answers to a question family, as its pairs occur.

    Args:
        variant: ``"synergy"``, ``"knowledge"``, ``"vision"`` or ``"redundant"``.

    Returns:
        Atoms in bits: S = 2, U2 = 2, U1 = 2 and R = 2, the others 0.
    """
    task = load(variant, images="all")
    if task.truth is None:
        raise InputError(f"task {task.name!r} without truth", "the world's answers are all known", "load it anew")
    answers_ABK = torch.nn.functional.one_hot(task.truth.clamp(min=0), len(task.answers)).double()
    return exact(answers_ABK, task, "natural" if "natural" in task.pair_weights else "uniform")


def model_pid(
    lvlm: LVLM,
    variant: str,
    *,
    layers: str | int | Sequence[int] = "all",
    execution: Execution = Execution(),  # noqa: B008 (frozen)
) -> dict[str, PIDResult]:
    """The PID of a model's decision function over the whole world.

    Args:
        lvlm: The model.
        variant: The question family.
        layers: Layer numbers, as in `fusionscope.probe.probe`.
        execution: How to run.

    Returns:
        Under each of the task's laws, the atoms [L] in bits.
    """
    task = load(variant, images="all")
    spec = ProbeSpec(design="crossed", layers=layers)
    grid = Crossed().posteriors(lvlm, task, lvlm.layer_numbers(layers), lens_of(lvlm, spec), spec, execution)
    return {law: exact(grid.conditionals, task, law) for law in task.pair_weights}


def exact(p_LABK: Tensor, task: HeldOutTask, weights: str) -> PIDResult:
    """The PID of answer distributions over a whole population: no bias correction, no standard errors.

    Args:
        p_LABK: p(y | image, question), float64 [..., A, B, K].
        task: A task whose images and questions are all there are.
        weights: Name of its pair weights.
    """
    return pid_from_joint(p_LABK * task.pair_weights[weights][..., None])
