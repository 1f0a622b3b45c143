"""Plain LightningCLI, with short errors and the end of a journey's stage."""

import sys
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentError
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback

from fusionscope.cli.messages import shortened
from fusionscope.records import Run


class _SaveConfig(SaveConfigCallback):
    """Saves the configuration into the stage's folder of a journey; where there is none, as Lightning does."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        journey = Run.find(trainer.default_root_dir)
        if journey is None or journey.current is None:
            super().setup(trainer, pl_module, stage)
        elif trainer.is_global_zero:
            folder = journey.stage_directory(journey.current.name)
            folder.mkdir(parents=True, exist_ok=True)
            self.parser.save(self.config, str(folder / "config.yaml"), skip_none=False, overwrite=True)


class FusionscopeCLI(LightningCLI):
    """LightningCLI with short errors that, at the end of a journey's stage, exports the model and marks it as done."""

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, TypeError) as error:  # what a constructor refuses, wrapped by the parser
            raise shortened(error) from error

    def after_fit(self) -> None:
        journey = Run.find(self.trainer.default_root_dir)
        if journey is None or journey.current is None or not self.trainer.state.finished:
            return
        stage = journey.current.name
        self.model.export(journey.stage_directory(stage) / "model")
        if self.trainer.is_global_zero:
            journey.finish(stage, self.trainer.global_step).save()


def lightning_cli(arguments: Sequence[str]) -> int:
    """Run LightningCLI on arguments that begin with its subcommand.

    Raises:
        ConfigError: A setting that the parser refuses; the deepest cause comes first.
    """
    known: dict[str, Any] = {name: {"exit_on_error": False} for name in ("fit", "validate", "test", "predict")}
    try:
        FusionscopeCLI(
            save_config_callback=_SaveConfig,
            parser_kwargs={"exit_on_error": False, **known},
            seed_everything_default=0,
            args=None if list(arguments) == sys.argv[1:] else list(arguments),  # it warns when given both
        )
    except ArgumentError as error:
        raise shortened(error) from error
    return 0
