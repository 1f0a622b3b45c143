"""Leaving a training at a step's end: all ranks agree, save, and exit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_info

from fusionscope import parallel
from fusionscope.records.checkpoints import save_to_resume
from fusionscope.records.directory import LAST


class Request(Protocol):
    """What asks a training to stop."""

    requeue: bool

    def __bool__(self) -> bool: ...
    def listen(self) -> Any: ...
    def defer(self) -> None: ...


class StopAtStep(Checkpoint):
    """Ends the process after the optimizer step in which some rank was asked to stop, once that step is saved.

    Lightning's own handler broadcasts inside the signal handler and hangs when ranks are interrupted at different
    places (Lightning issue 20806); here nothing but a flag is set there. It is a `Checkpoint` so that Lightning calls
    it last: what is due at this step has been probed and saved by then.

    Args:
        request: The request of this process.
        folder: Where the checkpoint goes, given the trainer.
        status: Exit status of the first rank; the others leave with 0, for Lightning kills all ranks if one fails.
        requeue: Called on the first rank when the scheduler asked for the stop.
    """

    def __init__(
        self, request: Request, *, folder: Callable[[Trainer], Path], status: int, requeue: Callable[[], None]
    ) -> None:
        self.request = request
        self.folder = folder
        self.status = status
        self.requeue = requeue
        self._step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals back from Lightning, which has just taken them."""
        self.request.listen()
        self.request.defer()
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Leave where a step has ended and a rank was asked to."""
        if trainer.global_step == self._step:
            return  # in the middle of an accumulated batch, whose gradients no checkpoint holds
        self._step = trainer.global_step
        # One process reads its own flags: a tensor on the device would wait for the step just queued.
        device = pl_module.device if parallel.is_distributed() else torch.device("cpu")
        asked = torch.tensor([float(bool(self.request)), float(self.request.requeue)], device=device)
        stop, again = parallel.total(trainer.strategy, asked).tolist()
        if stop:
            self._leave(trainer, again > 0)

    def _leave(self, trainer: Trainer, again: bool) -> None:
        folder = self.folder(trainer)
        save_to_resume(trainer, folder)
        if not parallel.is_main():
            raise SystemExit(0)
        rank_zero_info(f"Stopped after step {trainer.global_step} of the stage, saved in {folder / LAST}")
        if again:
            self.requeue()
        raise SystemExit(self.status)
