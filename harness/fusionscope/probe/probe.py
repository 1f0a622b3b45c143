"""The probe: a model and a held-out task in, the atoms of every layer out."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from fusionscope.data import HeldOutTask
from fusionscope.errors import UnknownNameError
from fusionscope.lvlm import LVLM, FeatureCache
from fusionscope.probe.crossed import accuracies, crossed_posteriors, decompose
from fusionscope.probe.passes import Progress
from fusionscope.probe.result import Posteriors, ProbeResult
from fusionscope.probe.session import Settings, weights_of

Design = Literal["crossed"]
FALLBACK_MASS = 0.3
"""Mass of the options under which the paper (arXiv 2603.29676) replaces a distribution by the uniform one."""

_DESIGNS: dict[str, Callable[[LVLM, HeldOutTask, Sequence[int], Settings], Posteriors]] = {
    "crossed": crossed_posteriors,
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

    Args:
        lvlm: The model.
        task: The held-out task.
        design: Where p(y | image) and p(y | question) come from: ``"crossed"``, the default of tasks that can be
            crossed.
        weights: Names of the task's pair weights; all are computed from the same passes.
        layers: ``"all"``, ``"last"``, a number or several: 0 is the input embeddings, i the i-th decoder layer.
        estimator: ``"exact"``.
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
        UnknownNameError: An unknown design, layer or weights.
    """
    for name in weights:
        weights_of(task, name)
    found = posteriors(
        lvlm, task, design=design, layers=layers, batch_size=batch_size, feature_cache=feature_cache,
        progress=progress, seed=seed, **settings,
    )  # fmt: skip
    return [
        result
        for name in weights
        for result in crossed_results(found, task, name, estimator=estimator, standard_errors=standard_errors)
    ]


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
    chosen = "crossed" if design is None else design
    if chosen not in _DESIGNS:
        raise UnknownNameError(
            f"design {chosen!r}", f"known designs are {', '.join(sorted(_DESIGNS))}", "use one of them"
        )
    return _DESIGNS[chosen](lvlm, task, lvlm.layer_numbers(layers), Settings(**settings))


def crossed_results(
    found: Posteriors, task: HeldOutTask, weights: str, *, estimator: str = "exact", standard_errors: bool = True
) -> list[ProbeResult]:
    """Results of a crossed design under one of the task's pair weights, one per layer."""
    p_LABK, pair_weights = found.crossed, task.pair_weights[weights]
    if p_LABK is None:
        raise UnknownNameError(f"posteriors of design {found.design!r}", "they hold no grid", "use design='crossed'")
    pid = decompose(p_LABK, task, pair_weights, standard_errors=standard_errors)
    right = accuracies(p_LABK, pair_weights, task.truth)
    mass = (found.mass * pair_weights).sum((-1, -2))
    low = ((found.mass < FALLBACK_MASS) * pair_weights).sum((-1, -2))
    return [
        ProbeResult(
            task=task.name,
            design=found.design,
            weights=weights,
            layer=layer,
            n_layers=found.n_layers,
            estimator=estimator,
            pid=pid[i],
            n=int((pair_weights > 0).sum()),
            n_images=len(task.images),
            n_questions=len(task.questions),
            diagnostics={
                "option_mass": float(mass[i]),
                "fallback_rate": float(low[i]),
                "marginal_mismatch": 0.0,
                "sum_rule_residual": float(sum(pid[i].atoms().values()) - pid[i].total),
            },
            seconds=found.seconds,
            tokens=found.tokens,
            **{name: float(value[i]) for name, value in right.items()},
        )
        for i, layer in enumerate(found.layers)
    ]
