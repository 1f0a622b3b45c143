"""What every trainer's callback does: probe, keep the records, draw. When to do so is the callback's business."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from tqdm.auto import tqdm

from fusionscope.callbacks.cost import Cost
from fusionscope.callbacks.random_state import random_state_kept
from fusionscope.callbacks.writers import Writers, metrics
from fusionscope.errors import ConfigError
from fusionscope.lvlm import LVLM, FeatureCache, weights_fingerprint
from fusionscope.parallel import gather_work, is_main, is_sharded, share_work
from fusionscope.probe import Execution, ProbeResult, ProbeSpec, model_name, probe, readable, to_record
from fusionscope.records import Origin, Place, Record, Start
from fusionscope.tasks import HeldOutTask, TaskSpec, load_tasks


class Monitor:
    """Probes a model at steps that its owner names; training is left bit for bit as it would be without.

    Args:
        tasks: Held-out tasks: names, `TaskSpec`s or `HeldOutTask`s.
        spec: What to measure.
        execution: How to run; features of images are kept from probe to probe, in its cache where one is given.
        baseline: Whether this comes before the training under study.
        heatmap_every: Draw the heatmaps at every this many probes, and always at the end.
        progress: Show a progress bar while probing.

    Raises:
        UnknownNameError: A task or law that does not exist.
        InputError: A task that cannot be probed as specified.
        ConfigError: No tasks.
    """

    def __init__(
        self,
        tasks: Sequence[str | TaskSpec | HeldOutTask],
        *,
        spec: ProbeSpec,
        execution: Execution,
        baseline: bool,
        heatmap_every: int,
        progress: bool,
    ) -> None:
        if not tasks:
            raise ConfigError("tasks=[]", "there is nothing to probe", "name at least one held-out task")
        self.tasks = load_tasks(tasks)
        for task in self.tasks:
            spec.check(task)
        self.spec = spec
        cache = FeatureCache() if execution.feature_cache is None else execution.feature_cache
        self._execution = replace(execution, feature_cache=cache)
        self.baseline = baseline
        self.heatmap_every = heatmap_every
        self.progress = progress
        self.probed_at = -1
        self.cost = Cost()
        self.place: Place | None = None
        self._writers: Writers | None = None

    @property
    def origin(self) -> Origin | None:
        """What checkpoints of this training say of its records; None where it leaves none."""
        return self.place.origin(self._writers.board if self._writers else "") if self.place else None

    def forget(self) -> None:
        """Begin anew: nothing of an earlier training counts."""
        self.probed_at = -1
        self.cost = Cost()

    def take(self, lvlm: LVLM) -> None:
        """Take the model that is about to be trained; images that cannot be read are named now and not at every probe.

        Args:
            lvlm: The model.

        Raises:
            UnknownNameError: A layer that doesn't exist.
            DataError: More images than allowed cannot be read.
        """
        lvlm.layer_numbers(self.spec.layers)
        self._readable = [readable(task, self.spec) for task in self.tasks]
        self._lvlm = lvlm

    def begin(self, start: Start, place: Place | None, writers: Writers | None) -> None:
        """Begin to record; of the curves drawn before, TensorBoard forgets those that do not stand.

        Args:
            start: The training that starts.
            place: Where its records belong, the same on every rank; None where it leaves none.
            writers: Where they go; None on every rank but the first.
        """
        self.place = place
        self._start = start
        self._writers = writers
        if writers is not None:
            writers.begin(start.origin)
        self.cost.begin()

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

    def finish(self) -> str:
        """Draw what stands at the end of the stage and say what the probes cost."""
        if self._writers:
            with self.cost.clocked():
                self._writers.finish()
        self.cost.end()
        return str(self.cost)

    def close(self) -> None:
        """Close what was opened for the records."""
        if self._writers:
            self._writers.close()
        self._writers = None
        self.place = None

    def _probe(self, step: int, context: AbstractContextManager[Any]) -> dict[str, float]:
        with random_state_kept(), context:
            results = self._run(step)
        self.cost.add(results)
        records = [self._record(result, step) for result in results]
        if self._writers:
            self._writers.write(records, stage_step=step)
            if self.cost.probes % self.heatmap_every == 0:
                self._writers.draw()
        return metrics(records)

    def _record(self, result: ProbeResult, step: int) -> Record:
        place = self.place
        return to_record(
            result,
            run=place.run if place else "",
            run_name=place.directory.name if place else "",
            attempt=place.attempt.attempt if place else 1,
            step=self._start.offset + step,
            stage=self._start.stage,
            stage_step=step,
            model=model_name(self._lvlm),
            baseline=self.baseline,
        )

    def _run(self, step: int) -> list[ProbeResult]:
        sharded = is_sharded(self._lvlm.model)
        tasks = share_work(self._readable, sharded=sharded)
        return gather_work(lambda: self._part(step, tasks), sharded=sharded)

    def _part(self, step: int, tasks: Sequence[HeldOutTask]) -> list[ProbeResult]:
        """The results of this rank's tasks."""
        results: list[ProbeResult] = []
        onsets = str(self._writers.watch) if self._writers else ""
        spec = replace(self.spec, max_bad_images=0)  # they are left out already
        execution = self._execution.of_model(weights_fingerprint([self._lvlm.model]))
        title = f"PID, step {step}" + (f" ({onsets})" if onsets else "")
        show = self.progress and is_main()
        with tqdm(total=len(tasks), desc=title, leave=False, disable=not show) as bar:
            for task in tasks:
                bar.set_postfix_str(task.name)
                results += probe(self._lvlm, task, spec, execution=execution)
                bar.update()
        return results
