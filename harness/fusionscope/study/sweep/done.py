"""What is done: records that hold the same task content, the same weights and the same way of measuring."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fusionscope.lvlm import LVLM
from fusionscope.probe import ProbeSpec, lens_name, readable
from fusionscope.records import Record
from fusionscope.study.sweep.checkpoints import Checkpoint
from fusionscope.tasks import HeldOutTask

_REASONS = {
    "task": "the task's content has changed",
    "model": "the weights have changed",
    "spec": "it was measured in another way",
    "": "the records do not say what was measured (those of an earlier version)",
}
"""Why records under the same key do not count, by the fingerprint that differs; "" where there is none."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One task to be measured in one way.

    Args:
        task: The task, without images that cannot be read.
        spec: How it is measured.
        variants: The variant of each law of questions, with the fingerprint of how it is measured.
    """

    task: HeldOutTask
    spec: ProbeSpec
    variants: Mapping[str, str]

    @classmethod
    def of(cls, task: HeldOutTask, spec: ProbeSpec) -> "Measurement":
        """A task under a specification.

        Raises:
            InputError: The task cannot be measured so.
        """
        spec.check(task)
        task = readable(task, spec)
        design, lens = spec.design_of(task), lens_name(spec)
        laws = design.laws(task, spec.laws)
        variants = {spec.variant(design, law, lens): spec.fingerprint(design, law, lens) for law in laws}
        return cls(task=task, spec=spec, variants=variants)

    def over(self, layers: Iterable[int]) -> "Measurement":
        """The same at these layers."""
        return replace(self, spec=replace(self.spec, layers=tuple(sorted(layers))))


@dataclass(frozen=True, kw_only=True)
class State:
    """How far a measurement of some weights is done.

    Args:
        complete: Whether there are records of all its variants and layers, whatever they hold.
        reasons: Why some of them do not count.
        layers: The layers of which there are records.
    """

    complete: bool
    reasons: tuple[str, ...]
    layers: frozenset[int]

    @property
    def done(self) -> bool:
        """Whether there is nothing to measure."""
        return self.complete and not self.reasons


class Done:
    """The records of a sweep by what they are of.

    Args:
        records: All that are there.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._layers: dict[tuple[object, ...], dict[int, Record]] = {}
        for record in records:
            place = (record.run, record.step, record.stage, record.task, record.variant)
            self._layers.setdefault(place, {})[record.layer] = record

    def state(self, measurement: Measurement, checkpoint: Checkpoint, model: str) -> State:
        """How far a measurement of a checkpoint is done.

        Args:
            measurement: What is to be measured.
            checkpoint: Of what.
            model: Fingerprint of its weights.
        """
        place = (checkpoint.run, checkpoint.step, checkpoint.stage, measurement.task.name)
        expected = {"task": measurement.task.fingerprint, "model": model}
        complete = True
        reasons: dict[str, None] = {}
        layers: set[int] = set()
        for variant, spec in measurement.variants.items():
            there = self._layers.get((*place, variant), {})
            wanted = _layers(measurement.spec.layers, there)
            complete = complete and bool(there) and wanted <= there.keys()
            layers |= there.keys()
            for record in there.values():
                reasons |= dict.fromkeys(_differences(record.fingerprints, {**expected, "spec": spec}))
        return State(complete=complete, reasons=tuple(_REASONS[name] for name in reasons), layers=frozenset(layers))


def anew(measurement: Measurement, state: State, lvlm: LVLM) -> Measurement:
    """What to measure: all that is asked for, and every layer of which there are records that no longer count."""
    if not state.reasons:
        return measurement
    return measurement.over({*lvlm.layer_numbers(measurement.spec.layers), *state.layers})


def _differences(there: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Names of the fingerprints that differ; [""] where there are none."""
    if not there:
        return [""]
    return [name for name, value in expected.items() if there.get(name) != value]


def _layers(layers: str | int | Sequence[int], there: Mapping[int, Record]) -> set[int]:
    """Numbers of the layers asked for; how many the model has is in its records."""
    if not there:
        return set()
    n_layers = next(iter(there.values())).n_layers
    if isinstance(layers, str):
        return set(range(n_layers + 1)) if layers == "all" else {n_layers}
    numbers = (layers,) if isinstance(layers, int) else layers
    return {layer % (n_layers + 1) for layer in numbers}
