"""PID of a vision-language model while Lightning trains it."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from fusionscope.callbacks.base import ProbingCallback
from fusionscope.callbacks.writers import Writers
from fusionscope.errors import ConfigError
from fusionscope.lvlm import LVLM
from fusionscope.records import Origin, Place, Run, Start, join

KEY = "fusionscope_records"
"""Where a checkpoint says which records were written while it was trained."""


class PIDCallback(ProbingCallback, Callback):
    """Measures redundancy, unique vision, unique language and synergy of the model's answers, layer by layer.

    Records go to ``records.jsonl`` (the source of truth), to TensorBoard and to the trainer's other loggers, with
    x = optimizer steps, counted over all stages of a run. Training is left bit for bit as it would be without, and
    ``fast_dev_run`` leaves no records.

    Its arguments are those of `fusionscope.callbacks.base.ProbingCallback`; a LightningModule that is no fusionscope
    stage needs ``model`` and ``processor``.

    Example::

        PIDCallback(["pope/random"], model="vlm", processor=processor, schedule=Schedule(every_n_steps=500))
    """

    _pending = False
    _resumed = False
    _origin: Origin | None = None
    """Of the training that this one goes on from, in a checkpoint or in the fit before."""

    @property
    def state_key(self) -> str:
        tasks = [task.name for task in self.monitor.tasks]
        return self._generate_state_key(tasks=tasks, **self.monitor.spec.changes())

    def state_dict(self) -> dict[str, Any]:
        return {"probed_at": self.monitor.probed_at, "cost": self.monitor.cost.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.monitor.probed_at = state_dict["probed_at"]
        self.monitor.cost.load_state_dict(state_dict["cost"])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Before any checkpoint is loaded; a training that failed was not torn down.
        self._leave()
        self._pending = False
        self._resumed = False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # Before the states of callbacks, which are loaded only where the tasks' names and the settings are those saved.
        self.monitor.forget()
        origins = checkpoint.get(KEY, {})
        self._origin = Origin.from_json(origins.get(self.directory or "", next(iter(origins.values()), None)))
        self._resumed = True

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.schedule.at_checkpoints:
            _check_savers(trainer)
        self.monitor.take(self._find_lvlm(pl_module))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not before: some strategies load the checkpoint that training goes on from after on_fit_start.
        self._resumed = self._resumed or trainer.global_step > 0
        if not self._resumed:
            self.monitor.forget()
        start, folder = self._start(trainer, pl_module)
        place = None if trainer.fast_dev_run else join(folder, start)
        self.monitor.begin(start, place, _writers(trainer, place) if place and trainer.is_global_zero else None)
        missed = self._resumed and self.schedule.at_checkpoints
        if missed or (self.schedule.at_start and trainer.global_step == 0):
            self._probe(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # The weights stay as they are until the next batch; a probe here could not enter this checkpoint's states.
        self._pending = self.schedule.at_checkpoints
        origin = self.monitor.origin
        if origin is not None:
            checkpoint.setdefault(KEY, {})[self.directory or ""] = origin.to_json()

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
        rank_zero_info(f"PIDCallback: {self.monitor.finish()}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._leave()

    def _leave(self) -> None:
        self._origin = self.monitor.origin or self._origin
        self.monitor.close()

    def _probe(self, trainer: Trainer) -> dict[str, float]:
        self._pending = False
        return self.monitor.probe(trainer.global_step, trainer.precision_plugin.forward_context())

    def _start(self, trainer: Trainer, pl_module: LightningModule) -> tuple[Start, Path]:
        """The training that starts, and where its records go unless their run is elsewhere."""
        run = Run.find(trainer.default_root_dir)
        running = run.current if run else None
        # log_dir is broadcast from the first rank: every rank must ask for it
        log_dir = Path(trainer.log_dir or trainer.default_root_dir)
        earlier = self._earlier(trainer)
        start = Start(
            stage=self.stage or (running.name if running else type(pl_module).__name__),
            offset=running.step_offset if running else 0,
            step=trainer.global_step if self._resumed or earlier else None,
            origin=earlier or (self._origin if self._resumed else None),
            checkpoint=trainer.ckpt_path,
            alongside=earlier is not None,
            moves=self.directory is None and running is None,
        )
        return start, Path(self.directory or (trainer.default_root_dir if running else log_dir))

    def _earlier(self, trainer: Trainer) -> Origin | None:
        """Where another callback of this trainer has begun to record this training."""
        others = [other for other in trainer.callbacks if isinstance(other, PIDCallback) and other is not self]
        origins = [other.monitor.origin for other in others if other.directory == self.directory]
        return next((origin for origin in origins if origin is not None), None)

    def _find_lvlm(self, pl_module: LightningModule) -> LVLM:
        if self.model is None:
            lvlm = getattr(pl_module, "lvlm", None)
            if isinstance(lvlm, LVLM):
                return lvlm
            raise ConfigError(
                f"PIDCallback found no model in {type(pl_module).__name__}",
                "only fusionscope's own stages have an attribute `lvlm`",
                'say which it is: PIDCallback(model="vlm", processor=processor), "vlm" being its attribute\'s name',
            )
        if self.processor is None:
            raise ConfigError(
                "PIDCallback(model=...) without processor",
                "questions and images must be prepared",
                "add processor=...",
            )
        return LVLM.wrap(self.resolve(pl_module, self.model), self.resolve(pl_module, self.processor))


def _check_savers(trainer: Trainer) -> None:
    if any(getattr(saver, "save_weights_only", False) for saver in trainer.checkpoint_callbacks):
        raise ConfigError(
            "schedule.at_checkpoints beside ModelCheckpoint(save_weights_only=True)",
            "Lightning calls no callback for checkpoints that hold weights alone, so that none of them would be probed",
            "use save_weights_only=False, a ScheduledCheckpoint, or the same every_n_steps in both schedules",
        )


def _writers(trainer: Trainer, place: Place) -> Writers:
    """TensorBoard and the other loggers are the trainer's own."""
    boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    others = [logger for logger in trainer.loggers if not isinstance(logger, TensorBoardLogger)]
    return Writers(
        place,
        say=rank_zero_info,
        writer=boards[0].experiment if boards else None,
        logs=[logger.log_metrics for logger in others],
    )
