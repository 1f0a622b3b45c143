"""Plain LightningCLI, with short errors and the end of a journey's stage."""

import sys
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentError
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback

from fusionscope.errors import ConfigError
from fusionscope.records import Journey


class _SaveConfig(SaveConfigCallback):
    """Saves the configuration into the stage's folder of a journey; where there is none, as Lightning does."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        journey = Journey.find(trainer.default_root_dir)
        if journey is None or journey.current is None:
            super().setup(trainer, pl_module, stage)
        elif trainer.is_global_zero:
            folder = journey.stage_directory(journey.current.name)
            folder.mkdir(parents=True, exist_ok=True)
            self.parser.save(self.config, str(folder / "config.yaml"), skip_none=False, overwrite=True)


class FusionscopeCLI(LightningCLI):
    """LightningCLI that, at the end of a journey's stage, exports the model and marks the stage as done."""

    def after_fit(self) -> None:
        journey = Journey.find(self.trainer.default_root_dir)
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
        raise ConfigError(*_deepest(str(error))) from error
    return 0


def _deepest(message: str) -> tuple[str, str, str]:
    """Of jsonargparse's nested message, the innermost cause, its place, and what to do."""
    lines = [line.strip(" -|") for line in message.splitlines() if line.strip(" -|")]
    return (
        lines[-1] if lines else message,
        " / ".join(lines[:-1]),
        "`fusionscope fit --print_config` lists the keys",
    )


if __name__ == "__main__":
    sys.exit(lightning_cli(sys.argv[1:]))
