"""The probe: a model and a held-out task in, the atoms of every layer out."""

from fusionscope.lens import Lens, LogitLens, name_in
from fusionscope.lvlm import LVLM, weights_fingerprint
from fusionscope.probe.decompose import results
from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.posteriors import Posteriors
from fusionscope.probe.result import ProbeResult
from fusionscope.probe.spec import ProbeSpec
from fusionscope.probe.tuning import compare_lens, load_lens
from fusionscope.tasks import HeldOutTask
from fusionscope.tasks.transforms import UNREADABLE, without_images, without_unreadable

REFUSED = "are refused by the model's processor"
_DEFAULT = ProbeSpec()
_EXECUTION = Execution()


def probe(
    lvlm: LVLM, task: HeldOutTask, spec: ProbeSpec = _DEFAULT, *, execution: Execution = _EXECUTION
) -> list[ProbeResult]:
    """Measure how a model uses vision, language and both to answer a task.

    The model is left as found: modes, gradients, hooks and random state; it may be in the middle of its training.
    Posteriors are decomposed on the model's device.

    Args:
        lvlm: The model.
        task: The held-out task.
        spec: What to measure.
        execution: How to run: batch size, feature cache, progress.

    Returns:
        One result per law of questions and layer, laws outermost.

    Raises:
        InputError: The task cannot be run in this design, or decomposed by this estimator; or a lens that is farther
            from the model's answers to this task than the logit lens.
        UnknownNameError: An unknown layer or law.
        DataError: More images than allowed cannot be read.
    """
    spec.check(task)
    task = readable(task, spec)
    content = task.fingerprint
    task = shown(lvlm, task, spec)
    lens = lens_of(lvlm, spec)
    model = execution.model_fingerprint or weights_fingerprint([lvlm.model])
    return results(
        _run(lvlm, task, spec, lens, execution.of_model(model)),
        task,
        spec,
        lens=lens.name,
        fingerprints={"task": content, "model": model},
        device=lvlm.adapter.device,
    )


def posteriors(
    lvlm: LVLM, task: HeldOutTask, spec: ProbeSpec = _DEFAULT, *, execution: Execution = _EXECUTION
) -> Posteriors:
    """The layer below `probe`: the model's answer distributions, before any estimator; see there."""
    spec.design_of(task)
    return _run(lvlm, shown(lvlm, readable(task, spec), spec), spec, lens_of(lvlm, spec), execution)


def readable(task: HeldOutTask, spec: ProbeSpec) -> HeldOutTask:
    """The task without images that cannot be read, as far as the specification allows.

    Raises:
        DataError: More than that cannot be read.
    """
    return without_unreadable(task, spec.max_bad_images) if spec.max_bad_images else task


def shown(lvlm: LVLM, task: HeldOutTask, spec: ProbeSpec) -> HeldOutTask:
    """The task without images that the model's processor refuses, as far as the specification allows.

    Raises:
        DataError: It refuses more than that, unreadable ones counted in.
    """
    left = spec.max_bad_images - task.dropped.get(UNREADABLE, 0)
    return without_images(task, lvlm.refusals(task.images), left, REFUSED) if spec.max_bad_images else task


def lens_of(lvlm: LVLM, spec: ProbeSpec) -> Lens:
    """The lens of a specification.

    Raises:
        InputError: A file that is no tuned lens, or one of other weights.
    """
    if spec.lens is None:
        return LogitLens(norm=lvlm.final_norm, head=lvlm.head)
    lens: Lens = load_lens(spec.lens, lvlm) if isinstance(spec.lens, str) else spec.lens
    return lens


def lens_name(spec: ProbeSpec) -> str:
    """The name of the lens of a specification, which records carry; a file of a tuned lens is not read whole.

    Raises:
        InputError: A file that is no tuned lens.
    """
    if spec.lens is None:
        return "logit"
    return name_in(spec.lens) if isinstance(spec.lens, str) else str(spec.lens.name)


def layers_of(lvlm: LVLM, task: HeldOutTask, spec: ProbeSpec, lens: Lens, execution: Execution) -> tuple[int, ...]:
    """The numbers of the layers of a specification, which its lens can read.

    Raises:
        InputError: The lens is farther from the model's answers to this task than the logit lens.
    """
    layers = lvlm.layer_numbers(spec.layers)
    if spec.lens is not None:
        compare_lens(lvlm, task, lens, layers, feature_cache=execution.feature_cache, seed=spec.seed).require_better()
    return tuple(layers)


def _run(lvlm: LVLM, task: HeldOutTask, spec: ProbeSpec, lens: Lens, execution: Execution) -> Posteriors:
    layers = layers_of(lvlm, task, spec, lens, execution)
    return spec.design_of(task).posteriors(lvlm, task, layers, lens, spec, execution)
