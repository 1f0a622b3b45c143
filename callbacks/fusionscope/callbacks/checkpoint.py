"""Checkpoints on the schedule that training dynamics need: dense early, then even."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from fusionscope.callbacks.schedule import Schedule
from fusionscope.records.checkpoints import check_room, checkpoint_folder, save_to_resume
from fusionscope.records.digests import note_directory


class ScheduledCheckpoint(Checkpoint):
    """Saves weights at every due step, and one whole checkpoint to resume from.

    ``step=00000123.ckpt`` holds weights alone, for probing afterwards; ``last.ckpt`` also holds the optimizer, the
    loops and the callbacks' states, and is replaced, all or nothing, each time; the one before it is kept as
    ``previous.ckpt`` until the next is saved.

    Args:
        schedule: When to save.
        directory: Where to; by default the stage's folder of the run directory, or ``checkpoints`` in the trainer's.
    """

    def __init__(self, schedule: Schedule, directory: str | None = None) -> None:
        self.schedule = schedule
        self.directory = directory
        self._saved_at = -1

    @property
    def state_key(self) -> str:
        return self._generate_state_key(schedule=self.schedule, directory=self.directory)

    def state_dict(self) -> dict[str, Any]:
        return {"saved_at": self._saved_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved_at = state_dict["saved_at"]

    def folder(self, trainer: Trainer) -> Path:
        """Where this run's checkpoints go."""
        if self.directory is not None:
            return Path(self.directory)
        return checkpoint_folder(trainer.default_root_dir)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.fast_dev_run:
            check_room(self.folder(trainer), pl_module)
        if self.schedule.at_start and trainer.global_step == 0:
            self._save(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.global_step != self._saved_at and self.schedule.due(trainer.global_step):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.schedule.at_end and trainer.global_step != self._saved_at:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        self._saved_at = trainer.global_step
        if trainer.fast_dev_run:  # which leaves nothing, as Lightning's own checkpoints
            return
        folder = self.folder(trainer)
        weights = folder / f"step={trainer.global_step:08d}.ckpt"
        trainer.save_checkpoint(weights, weights_only=True)
        if trainer.is_global_zero and weights.is_dir():  # of DeepSpeed, which writes its files itself
            note_directory(weights)
        save_to_resume(trainer, folder)
