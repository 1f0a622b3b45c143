"""What every trainer's callback does: probe, keep the records, draw. When to do so is the callback's business."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from inspect import signature
from typing import Any, Literal

from lightning.pytorch.utilities.seed import isolate_rng
from tqdm.auto import tqdm

from fusionscope.callbacks.cost import Cost
from fusionscope.callbacks.writers import Sinks, metrics
from fusionscope.errors import ConfigError, UnknownNameError
from fusionscope.lvlm import LVLM, FeatureCache
from fusionscope.parallel import gather_work, is_main, is_sharded, share_work
from fusionscope.probe import ProbeResult, Settings, model_name, probe, to_record
from fusionscope.probe.decompose import check_estimator, check_weights
from fusionscope.probe.probe import design_of
from fusionscope.tasks import HeldOutTask, TaskSpec, load_tasks
from fusionscope.tasks.transforms import without_unreadable


class Monitor:
    """Probes a model at steps that its owner names; training is left bit for bit as it would be without.

    Args:
        tasks: Held-out tasks: names, `TaskSpec`s or `HeldOutTask`s.
        layers: ``"all"`` or indices from 0 (the embeddings) to the number of decoder layers.
        weights: Names of pair weights, or ``"all"`` that the task has.
        probe_settings: More keyword arguments of `fusionscope.probe.probe`: design, estimator, ...; features of images
            are kept from probe to probe, in the ``feature_cache`` where one is given.
        baseline: Whether this comes before the training under study.
        heatmap_every: Draw the heatmaps at every so many probes, and always at the end.
        progress: Show a progress bar while probing.

    Raises:
        UnknownNameError: A task, design, estimator, weights or setting that doesn't exist.
        InputError: A setting outside its range.
        ConfigError: No tasks.
    """

    def __init__(
        self,
        tasks: Sequence[str | TaskSpec | HeldOutTask],
        *,
        layers: Literal["all"] | Sequence[int],
        weights: Literal["all"] | Sequence[str],
        probe_settings: Mapping[str, Any],
        baseline: bool,
        heatmap_every: int,
        progress: bool,
    ) -> None:
        if not tasks:
            raise ConfigError("tasks=[]", "there is nothing to probe", "name at least one held-out task")
        self.tasks = load_tasks(tasks)
        self.layers, self.weights, self.probe_settings = layers, weights, dict(probe_settings)
        self._features = self.probe_settings.pop("feature_cache", None)
        if self._features is None:
            self._features = FeatureCache()
        _check(self.tasks, weights, self.probe_settings)
        self.baseline, self.heatmap_every, self.progress = baseline, heatmap_every, progress
        self.probed_at, self.cost = -1, Cost()
        self._sinks: Sinks | None = None

    def begin(self, lvlm: LVLM, *, sinks: Sinks | None, stage: str, offset: int, resumed: bool) -> None:
        """Take the model that is about to be trained; images that cannot be read are named now and not at every probe.

        Args:
            lvlm: The model.
            sinks: Where records go; None on every rank but the first.
            stage: Name of the stage in the records.
            offset: Optimizer steps of the stages before this one.
            resumed: Whether an interrupted run goes on; otherwise nothing of an earlier run counts.

        Raises:
            UnknownNameError: A layer that doesn't exist.
            DataError: More images than allowed cannot be read.
        """
        if not resumed:
            self.probed_at, self.cost = -1, Cost()
        allowed = int(self.probe_settings.get("max_bad_images", 0))
        self._whole = [without_unreadable(task, allowed) for task in self.tasks] if allowed else self.tasks
        self._lvlm, self._sinks, self._stage, self._offset = lvlm, sinks, stage, offset
        self._layers = lvlm.layer_numbers(self.layers)
        self.cost.begin()

    def resume_at(self, step: int) -> None:
        """Make TensorBoard forget what an interrupted run drew after this step of the stage."""
        if self._sinks:
            self._sinks.resume_after(self._offset + step)

    def probe(self, step: int, context: AbstractContextManager[Any] | None = None) -> dict[str, float]:
        """Probe every task once at this step of the stage and write the records.

        Args:
            step: Optimizer steps since the stage began.
            context: The trainer's precision context.

        Returns:
            The last layer's atoms by tag; {} where this step was probed before.
        """
        if step == self.probed_at:
            return {}
        with self.cost.clocked():
            numbers = self._probe(step, context or nullcontext())
        # After it: a checkpoint that is saved because of an error must not say that this step was probed.
        self.probed_at = step
        return numbers

    def finish(self, step: int) -> str:
        """Draw what stands at the end of the stage and say what the probes cost."""
        if self._sinks:
            with self.cost.clocked():
                self._sinks.finish(self._offset + step)
        self.cost.end()
        return str(self.cost)

    def close(self) -> None:
        """Close what was opened for the records."""
        if self._sinks:
            self._sinks.close()
        self._sinks = None

    def _probe(self, step: int, context: AbstractContextManager[Any]) -> dict[str, float]:
        with isolate_rng(), context:
            results = self._run(step)
        self.cost.add(results)
        place = {"step": self._offset + step, "stage": self._stage, "stage_step": step, "baseline": self.baseline}
        run, model = self._sinks.run if self._sinks else "", model_name(self._lvlm)
        records = [to_record(result, run=run, model=model, **place) for result in results]
        if self._sinks:
            self._sinks.write(records, stage_step=step)
            if self.cost.probes % self.heatmap_every == 0:
                self._sinks.draw(self._offset + step)
        return metrics(records)

    def _run(self, step: int) -> list[ProbeResult]:
        sharded = is_sharded(self._lvlm.model)
        tasks = share_work(self._whole, sharded=sharded)
        return gather_work(lambda: self._share(step, tasks), sharded=sharded)

    def _share(self, step: int, tasks: Sequence[HeldOutTask]) -> list[ProbeResult]:
        """The results of this rank's tasks."""
        results: list[ProbeResult] = []
        seen = str(self._sinks.watch) if self._sinks else ""
        settings = {name: value for name, value in self.probe_settings.items() if name != "max_bad_images"}
        title = f"PID, step {step}" + (f" ({seen})" if seen else "")
        show = self.progress and is_main()
        with tqdm(total=len(tasks), desc=title, leave=False, disable=not show) as bar:
            for task in tasks:
                bar.set_postfix_str(task.name)
                results += probe(
                    self._lvlm,
                    task,
                    layers=self._layers,
                    weights=tuple(task.pair_weights) if self.weights == "all" else self.weights,
                    feature_cache=self._features,
                    **settings,
                )
                bar.update()
        return results


def _check(
    tasks: Sequence[HeldOutTask], weights: Literal["all"] | Sequence[str], probe_settings: Mapping[str, Any]
) -> None:
    """Names a setting that a probe would refuse, before any training."""
    own = {f.name for f in fields(Settings)}
    known = {*signature(probe).parameters, *own} - {"lvlm", "task", "layers", "weights", "settings"}
    if unknown := sorted(set(probe_settings) - known):
        raise UnknownNameError(
            f"probe_settings {', '.join(unknown)}",
            f"known are {', '.join(sorted(known))}",
            "use these; layers= and weights= are arguments of the callback itself",
        )
    Settings(**{name: value for name, value in probe_settings.items() if name in own})
    for task in tasks:
        crossed = design_of(task, probe_settings.get("design")) == "crossed"
        check_estimator(probe_settings.get("estimator", "exact"), crossed=crossed)
        for name in weights if crossed and weights != "all" else ():
            check_weights(task, name)
