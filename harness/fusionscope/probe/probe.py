"""The probe: a model and a held-out task in, the atoms of every layer out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fusionscope.errors import UnknownNameError
from fusionscope.lvlm import LVLM, FeatureCache
from fusionscope.probe.decompose import check_estimator, check_weights, results
from fusionscope.probe.designs.crossed import crossed_posteriors
from fusionscope.probe.designs.learned import learned_posteriors
from fusionscope.probe.designs.masked import masked_posteriors
from fusionscope.probe.engine.runner import Progress
from fusionscope.probe.engine.session import Settings, chosen_pairs
from fusionscope.probe.posteriors import Posteriors, ProbeResult
from fusionscope.tasks import HeldOutTask
from fusionscope.tasks.transforms import without_unreadable

_DESIGNS: dict[str, Callable[[LVLM, HeldOutTask, Sequence[int], Settings, int], Posteriors]] = {
    "crossed": crossed_posteriors,
    "learned": learned_posteriors,
    "masked": masked_posteriors,
}


def probe(
    lvlm: LVLM,
    task: HeldOutTask,
    *,
    design: str | None = None,
    weights: Sequence[str] = ("uniform",),
    layers: str | int | Sequence[int] = "all",
    estimator: str = "exact",
    batch_size: int | None = None,
    feature_cache: FeatureCache | None = None,
    progress: Progress | bool | None = None,
    seed: int = 0,
    standard_errors: bool = True,
    **settings: Any,
) -> list[ProbeResult]:
    """Measure how a model uses vision, language and both to answer a task.

    The model is left as found: modes, gradients, hooks and random state; it may be in the middle of its training.
    Posteriors are decomposed on the model's device.

    Args:
        lvlm: The model.
        task: The held-out task.
        design: Where p(y | image) and p(y | question) come from: ``"crossed"`` (every image with every question; the
            default of tasks that can be crossed), ``"learned"`` (cross-fitted classifiers on natural pairs; the
            default of the others), ``"masked"`` (the paper's: a modality replaced; never unasked).
        weights: Names of the task's pair weights; all are computed from the same passes. Designs over natural pairs
            give one set of results, under ``"natural"``.
        layers: ``"all"``, ``"last"``, a number or several: 0 is the input embeddings, i the i-th decoder layer.
        estimator: ``"exact"``; for natural pairs also ``"faithful"``, the paper's arithmetic on label marginals that
            disagree (`fusionscope.pid.pid_from_posteriors`).
        batch_size: Sequences per pass; found automatically by default.
        feature_cache: Keeps vision features between calls while the tower's weights stay the same.
        progress: True for a bar, or a callable told (sequences done, total).
        seed: Of what a design draws; the global random state is never used.
        standard_errors: Compute them.
        **settings: Fields of `fusionscope.probe.Settings`.

    Returns:
        One result per weights and layer, weights outermost.

    Raises:
        InputError: The task cannot be run in this design.
        UnknownNameError: An unknown design, layer, estimator or weights.
        DataError: More pictures than allowed do not open.
    """
    crossed = design_of(task, design) == "crossed"
    check_estimator(estimator, crossed=crossed)
    if crossed:
        for name in weights:
            check_weights(task, name)
    allowed = int(settings.get("max_bad_images", 0))
    if allowed:
        task = without_unreadable(task, allowed)
    found = posteriors(
        lvlm, task, design=design, layers=layers, batch_size=batch_size, feature_cache=feature_cache,
        progress=progress, seed=seed, **settings,
    )  # fmt: skip
    device = lvlm.adapter.device
    return results(found, task, weights, estimator=estimator, standard_errors=standard_errors, device=device)


def posteriors(
    lvlm: LVLM,
    task: HeldOutTask,
    *,
    design: str | None = None,
    layers: str | int | Sequence[int] = "all",
    seed: int = 0,
    **settings: Any,
) -> Posteriors:
    """The layer below `probe`: the model's answer distributions, before any estimator.

    Args:
        lvlm: The model.
        task: The held-out task.
        design: See `probe`.
        layers: See `probe`.
        seed: See `probe`.
        **settings: Fields of `fusionscope.probe.Settings`.
    """
    chosen = design_of(task, design)
    found = _DESIGNS[chosen](lvlm, task, lvlm.layer_numbers(layers), Settings(**settings), seed)
    return replace(found, details={**found.details, "other_lens": float(settings.get("lens") is not None)})


def design_of(task: HeldOutTask, design: str | None) -> str:
    """The design that a task is probed in: what was named, else crossed where that is possible, else learned.

    Raises:
        UnknownNameError: No such design.
    """
    if design is not None and design not in _DESIGNS:
        raise UnknownNameError(
            f"design {design!r}", f"known designs are {', '.join(sorted(_DESIGNS))}", "use one of them"
        )
    return design or ("crossed" if task.crossable else "learned")


def sample_size(task: HeldOutTask, design: str | None, *, seed: int = 0, **settings: Any) -> tuple[int, int]:
    """How many images and questions a probe uses when every picture opens.

    Args:
        task: The held-out task.
        design: See `probe`.
        seed: See `probe`.
        **settings: Fields of `fusionscope.probe.Settings`.
    """
    if design_of(task, design) == "crossed":
        return len(task.images), len(task.questions)
    pairs, _ = chosen_pairs(task, Settings(**settings), seed)
    images, questions = (len(column.unique()) for column in pairs.T)
    return images, questions
