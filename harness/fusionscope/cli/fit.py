"""Plain LightningCLI, with short errors, a stop that saves, and the end of a run's stage."""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback

from fusionscope.cli.messages import shortened
from fusionscope.cli.signals import STOPPED, StopRequest, requeue
from fusionscope.records import Run, RunDirectory, digests
from fusionscope.records.checkpoints import checkpoint_folder
from fusionscope.records.directory import LAST, PREVIOUS
from fusionscope.records.lock import RunLock
from fusionscope.stages.files import check_whole
from fusionscope.stages.stopping import StopAtStep


class _SaveConfig(SaveConfigCallback):
    """Saves the configuration into the stage's folder of a run; where there is none, as Lightning does."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        run = Run.find(trainer.default_root_dir)
        if run is None or run.current is None:
            super().setup(trainer, pl_module, stage)
        elif trainer.is_global_zero:
            folder = RunDirectory(run.directory).stage(run.current.name)
            folder.path.mkdir(parents=True, exist_ok=True)
            self.parser.save(self.config, str(folder.config), skip_none=False, overwrite=True)


class FusionscopeCLI(LightningCLI):
    """LightningCLI with short errors that, at the end of a run's stage, exports the model and marks it as done.

    Args:
        request: What asks this process to stop.
        owned: What is left when the command ends: the lock of a run directory.
        **settings: LightningCLI's.
    """

    def __init__(self, request: StopRequest, owned: ExitStack, **settings: Any) -> None:
        self.request = request
        self.owned = owned
        super().__init__(**settings)

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, TypeError) as error:  # what a constructor refuses, wrapped by the parser
            raise shortened(error) from error

    def before_fit(self) -> None:
        """Own the run directory, unless a `fusionscope run` does; go on where SLURM has started a job again."""
        root = self.trainer.default_root_dir
        settings = self.config_init["fit"]
        if self.request.has_parent:
            if settings.ckpt_path is not None:
                digests.verified_before(Path(settings.ckpt_path))
            return
        if self.trainer.is_global_zero and Run.find(root) is not None:
            self.owned.enter_context(RunLock(root))
        if self.trainer.is_global_zero:
            check_whole(settings.ckpt_path)
        if int(os.environ.get("SLURM_RESTART_COUNT", "0")) and settings.ckpt_path is None:
            folder = checkpoint_folder(root)
            settings.ckpt_path = next((str(p) for p in (folder / LAST, folder / PREVIOUS) if p.exists()), None)

    def after_fit(self) -> None:
        run = Run.find(self.trainer.default_root_dir)
        if run is None or run.current is None or not self.trainer.state.finished:
            return
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]  # set outside of its class
            return
        stage = run.current.name
        self.model.export(RunDirectory(run.directory).stage(stage).model)
        if self.trainer.is_global_zero:
            run.finish(stage, self.trainer.global_step).save()


def lightning_cli(arguments: Sequence[str], request: StopRequest) -> int:
    """Run LightningCLI on arguments that begin with its subcommand.

    Args:
        arguments: The arguments.
        request: What asks this process to stop.

    Raises:
        ConfigError: A setting that the parser refuses; the deepest cause comes first.
    """
    known: dict[str, Any] = {name: {"exit_on_error": False} for name in ("fit", "validate", "test", "predict")}
    stop = StopAtStep(
        request,
        folder=lambda trainer: checkpoint_folder(trainer.default_root_dir),
        status=STOPPED,
        requeue=lambda: None if request.has_parent else requeue(),
    )
    with ExitStack() as owned:
        try:
            FusionscopeCLI(
                request,
                owned,
                save_config_callback=_SaveConfig,
                trainer_defaults={"callbacks": [stop]},
                parser_kwargs={"exit_on_error": False, **known},
                seed_everything_default=0,
                args=None if list(arguments) == sys.argv[1:] else list(arguments),  # it warns when given both
            )
        except ArgumentError as error:
            raise shortened(error) from error
    return 0
