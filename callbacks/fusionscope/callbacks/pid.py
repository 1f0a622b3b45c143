"""PID of a vision-language model while it trains."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn

from fusionscope.callbacks.monitor import Monitor
from fusionscope.callbacks.schedule import Schedule
from fusionscope.callbacks.writers import Writers
from fusionscope.errors import ConfigError
from fusionscope.lvlm import LVLM
from fusionscope.probe import Execution, ProbeSpec
from fusionscope.records import Run
from fusionscope.tasks import HeldOutTask, TaskSpec


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
        spec: What to measure: design, estimator, layers, laws, lens, ...
        execution: How to run: batch size; features of images are kept from probe to probe, in its ``feature_cache``
            where one is given.
        directory: Where ``records.jsonl`` goes; by default the run's or the logger's folder.
        stage: Name of the stage in the records; by default the journey's, or the LightningModule's class.
        baseline: Whether this stage comes before the training under study (such as a language model's own pretraining):
            its records are marked, and an onset is looked for after them.
        heatmap_every: Draw the heatmaps at every so many probes, and always at the end.
        progress: Show a progress bar while probing.

    Raises:
        UnknownNameError: A task, layer or setting that doesn't exist.
        InputError: A setting outside its range.
        ConfigError: No model was found, a model without a processor, or checkpoints to probe that Lightning tells no
            callback of.
    """

    def __init__(
        self,
        tasks: Sequence[str | TaskSpec | HeldOutTask],
        *,
        model: str | nn.Module | None = None,
        processor: Any = None,
        schedule: Schedule = Schedule(every_n_steps=500, log_spaced=2.0),  # noqa: B008 (frozen)
        spec: ProbeSpec = ProbeSpec(),  # noqa: B008 (frozen)
        execution: Execution = Execution(),  # noqa: B008 (frozen)
        directory: str | None = None,
        stage: str | None = None,
        baseline: bool = False,
        heatmap_every: int = 10,
        progress: bool = True,
    ) -> None:
        self.model = model
        self.processor = processor
        self.schedule = schedule
        self.stage = stage
        self.directory = directory
        self.monitor = Monitor(
            tasks,
            spec=spec,
            execution=execution,
            baseline=baseline,
            heatmap_every=heatmap_every,
            progress=progress,
        )
        self._pending = False
        self._resumed = False

    @property
    def state_key(self) -> str:
        tasks = [task.name for task in self.monitor.tasks]
        return self._generate_state_key(tasks=tasks, **self.monitor.spec.changes())

    def state_dict(self) -> dict[str, Any]:
        return {"probed_at": self.monitor.probed_at, "cost": self.monitor.cost.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.monitor.probed_at = state_dict["probed_at"]
        self.monitor.cost.load_state_dict(state_dict.get("cost", {}))  # older checkpoints do not say
        self._resumed = True

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._pending = False
        if self.schedule.at_checkpoints:
            _check_savers(trainer)
        lvlm = _find_lvlm(pl_module, self.model, self.processor)
        journey = Run.find(trainer.default_root_dir)
        running = journey.current if journey else None
        # log_dir is broadcast from the first rank: every rank must ask for it
        folder = Path(self.directory or (journey.directory if journey else trainer.log_dir or trainer.default_root_dir))
        self.monitor.begin(
            lvlm,
            writers=_writers(trainer, folder) if trainer.is_global_zero else None,
            stage=self.stage or (running.name if running else type(pl_module).__name__),
            offset=running.step_offset if running else 0,
            resumed=self._resumed,
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._resumed:
            self.monitor.resume_at(trainer.global_step)
        missed = self._resumed and self.schedule.at_checkpoints
        if missed or (self.schedule.at_start and trainer.global_step == 0):
            self._probe(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # The weights stay as they are until the next batch; a probe here could not enter this checkpoint's states.
        self._pending = self.schedule.at_checkpoints

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._pending:
            self._probe(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.schedule.due(trainer.global_step):
            pl_module.log_dict(self._probe(trainer), logger=False, on_step=True, on_epoch=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._pending or self.schedule.at_end:
            self._probe(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Checkpoint callbacks run last, and so does what they save when training ends.
        if self._pending:
            self._probe(trainer)
        rank_zero_info(f"PIDCallback: {self.monitor.finish(trainer.global_step)}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.monitor.close()
        self._resumed = False

    def _probe(self, trainer: Trainer) -> dict[str, float]:
        self._pending = False
        return self.monitor.probe(trainer.global_step, trainer.precision_plugin.forward_context())


def _check_savers(trainer: Trainer) -> None:
    if any(getattr(saver, "save_weights_only", False) for saver in trainer.checkpoint_callbacks):
        raise ConfigError(
            "schedule.at_checkpoints beside ModelCheckpoint(save_weights_only=True)",
            "Lightning tells no callback of checkpoints that hold weights alone, so that none of them would be probed",
            "use save_weights_only=False, a ScheduledCheckpoint, or the same every_n_steps in both schedules",
        )


def _writers(trainer: Trainer, folder: Path) -> Writers:
    """TensorBoard and the other loggers are the trainer's own."""
    boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    others = [logger for logger in trainer.loggers if not isinstance(logger, TensorBoardLogger)]
    return Writers(
        folder,
        writer=boards[0].experiment if boards else None,
        logs=[logger.log_metrics for logger in others],
    )


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
