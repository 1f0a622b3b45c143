"""PID of a vision-language model while it trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn
from tqdm.auto import tqdm

from fusionscope.callbacks.ranks import gather, is_sharded, own_share
from fusionscope.callbacks.schedule import Schedule
from fusionscope.callbacks.sinks import Sinks, metrics
from fusionscope.data import HeldOutTask, load_task
from fusionscope.errors import ConfigError
from fusionscope.lvlm import LVLM, FeatureCache
from fusionscope.probe import ProbeResult, model_name, probe, to_record
from fusionscope.records import Journey


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A held-out task by name, as a recipe states it.

    Args:
        name: What `fusionscope.data.load_task` takes, such as ``"sandbox/synergy"``.
        settings: Passed to the task's loader.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


class PIDCallback(Callback):
    """Measures redundancy, unique vision, unique language and synergy of the model's answers, layer by layer.

    Records go to ``records.jsonl`` (the source of truth), to TensorBoard and to the trainer's other loggers, with
    x = optimizer steps, counted over all stages of a journey. Training is left bit for bit as it would be without.

    Args:
        tasks: Held-out tasks: names, `TaskSpec`s or `HeldOutTask`s.
        model: The vision-language model inside the LightningModule: the module itself, or the name of its attribute
            (``"vlm"``, ``"net.vlm"``). None for a fusionscope stage, which has ``lvlm``.
        processor: Its Hugging Face processor, or the name of its attribute; needed with ``model``.
        schedule: When to probe.
        layers: Which layers: ``"all"`` or indices from 0 (the embeddings) to the number of decoder layers.
        design: How the unimodal posteriors are obtained; every number carries it.
        weights: Names of pair weights, or ``"all"`` that the task has.
        estimator: The PID estimator.
        probe_settings: More keyword arguments of `fusionscope.probe.probe`.
        directory: Where ``records.jsonl`` goes; by default the run's or the logger's folder.
        stage: Name of the stage in the records; by default the journey's, or the LightningModule's class.
        baseline: Whether this stage comes before the training under study (such as a language model's own pretraining):
            its records are marked, and an onset is looked for after them.
        heatmap_every: Draw the heatmaps at every so many probes, and always at the end.
        progress: Show a progress bar while probing.

    Raises:
        UnknownNameError: A task or a layer that doesn't exist.
        ConfigError: No model was found, or a model without a processor.
    """

    def __init__(
        self,
        tasks: Sequence[str | TaskSpec | HeldOutTask],
        *,
        model: str | nn.Module | None = None,
        processor: Any = None,
        schedule: Schedule = Schedule(every_n_steps=500, log_spaced=2.0),  # noqa: B008 (frozen)
        layers: Literal["all"] | Sequence[int] = "all",
        design: str = "crossed",
        weights: Literal["all"] | Sequence[str] = "all",
        estimator: str = "exact",
        probe_settings: Mapping[str, Any] | None = None,
        directory: str | None = None,
        stage: str | None = None,
        baseline: bool = False,
        heatmap_every: int = 10,
        progress: bool = True,
    ) -> None:
        if not tasks:
            raise ConfigError("PIDCallback(tasks=[])", "there is nothing to probe", "name at least one held-out task")
        self.tasks = [_load(task) for task in tasks]
        self.model, self.processor = model, processor
        self.schedule, self.layers, self.stage, self.baseline = schedule, layers, stage, baseline
        self.directory, self.heatmap_every, self.progress = directory, heatmap_every, progress
        self.probe_settings = {
            "design": design,
            "estimator": estimator,
            **(probe_settings or {}),
        }
        self.weights = weights
        self._features = FeatureCache()
        self._probed_at = -1
        self._n_probes = 0
        self._seconds = 0.0
        self._pending = False
        self._resumed = False
        self._sinks: Sinks | None = None

    @property
    def state_key(self) -> str:
        settings = {k: str(v) for k, v in (self.probe_settings | {"weights": self.weights}).items()}
        return self._generate_state_key(tasks=[task.name for task in self.tasks], **settings)

    def state_dict(self) -> dict[str, Any]:
        return {"probed_at": self._probed_at, "n_probes": self._n_probes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._probed_at, self._n_probes = state_dict["probed_at"], state_dict["n_probes"]
        self._resumed = True

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._lvlm = _find_lvlm(pl_module, self.model, self.processor)
        self._layers = self._lvlm.layer_numbers(self.layers)
        journey = Journey.find(trainer.default_root_dir)
        running = journey.current if journey else None
        self._offset = running.step_offset if running else 0
        self._stage = self.stage or (running.name if running else type(pl_module).__name__)
        self._sinks = Sinks(trainer, self.directory) if trainer.is_global_zero else None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._resumed and self._sinks:
            self._sinks.resume_after(self._offset + trainer.global_step)
        missed = self._resumed and self.schedule.at_checkpoints
        if missed or (self.schedule.at_start and trainer.global_step == 0):
            self._probe(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # The weights stay as they are until the next batch; a probe here could not enter this checkpoint's states.
        self._pending = self.schedule.at_checkpoints

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._pending:
            self._probe(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.schedule.due(trainer.global_step):
            found = self._probe(trainer, pl_module)
            pl_module.log_dict(found, logger=False, on_step=True, on_epoch=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._pending or self.schedule.at_end:
            self._probe(trainer, pl_module)
        if self._sinks:
            self._sinks.draw(self._offset + trainer.global_step)
        rank_zero_info(f"PIDCallback: {self._n_probes} probes took {self._seconds:.1f} s")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._sinks:
            self._sinks.close()
        self._sinks = None

    def _probe(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, float]:
        """Probe every task once at this step, write the records and return the last layer's atoms."""
        self._pending = False
        if trainer.global_step == self._probed_at:
            return {}
        self._probed_at = trainer.global_step
        self._n_probes += 1
        with isolate_rng(), trainer.precision_plugin.forward_context():
            results = self._run_probes(trainer)
        self._seconds += sum({r.task: r.seconds for r in results}.values())
        step = trainer.global_step
        place = {
            "step": self._offset + step,
            "stage": self._stage,
            "stage_step": step,
            "model": model_name(self._lvlm),
            "baseline": self.baseline,
        }
        records = [to_record(r, run=self._sinks.run if self._sinks else "", **place) for r in results]
        if self._sinks:
            self._sinks.write(records, stage_step=step)
            if self._n_probes % self.heatmap_every == 0:
                self._sinks.draw(self._offset + step)
        return metrics(records)

    def _run_probes(self, trainer: Trainer) -> list[ProbeResult]:
        sharded = is_sharded(self._lvlm.model)
        results: list[ProbeResult] = []
        show = self.progress and trainer.is_global_zero
        with tqdm(total=len(self.tasks), desc=f"PID, step {trainer.global_step}", leave=False, disable=not show) as bar:
            for task in own_share(self.tasks, sharded=sharded):
                bar.set_postfix_str(task.name)
                weights = tuple(task.pair_weights) if self.weights == "all" else self.weights
                results += probe(
                    self._lvlm,
                    task,
                    layers=self._layers,
                    weights=weights,
                    feature_cache=self._features,
                    **self.probe_settings,
                )
                bar.update()
        return gather(results, sharded=sharded)


def _load(task: str | TaskSpec | HeldOutTask) -> HeldOutTask:
    if isinstance(task, HeldOutTask):
        return task
    spec = TaskSpec(name=task) if isinstance(task, str) else task
    return load_task(spec.name, **spec.settings)


def _find_lvlm(pl_module: LightningModule, model: str | nn.Module | None, processor: Any) -> LVLM:
    if model is None:
        lvlm = getattr(pl_module, "lvlm", None)
        if not isinstance(lvlm, LVLM):
            raise ConfigError(
                f"PIDCallback found no model in {type(pl_module).__name__}",
                "only fusionscope's own stages have an attribute `lvlm`",
                'say which it is: PIDCallback(model="vlm", processor=processor), "vlm" being its attribute\'s name',
            )
        return lvlm
    if processor is None:
        raise ConfigError(
            "PIDCallback(model=...) without processor",
            "questions and images must be prepared",
            "add processor=...",
        )
    if isinstance(model, str):
        model = _attribute(pl_module, model)
    if isinstance(processor, str):
        processor = _attribute(pl_module, processor)
    return LVLM.wrap(model, processor)


def _attribute(pl_module: LightningModule, path: str) -> Any:
    try:
        return reduce(getattr, path.split("."), pl_module)
    except AttributeError as error:
        raise ConfigError(
            f"{type(pl_module).__name__} has no attribute {path!r}",
            "PIDCallback was told to find the model or the processor there",
            f"its modules are {', '.join(name for name, _ in pl_module.named_children()) or 'none'}",
        ) from error
