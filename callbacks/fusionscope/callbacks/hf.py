"""PID of a vision-language model that Hugging Face's Trainer, or one of TRL's, trains."""

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fusionscope.callbacks.monitor import Monitor
from fusionscope.callbacks.schedule import Schedule
from fusionscope.callbacks.writers import Writers
from fusionscope.errors import ConfigError
from fusionscope.lvlm import LVLM
from fusionscope.probe import Execution, ProbeSpec
from fusionscope.tasks import HeldOutTask, TaskSpec


class PIDTrainerCallback(TrainerCallback):
    """`fusionscope.callbacks.PIDCallback` for ``Trainer(callbacks=[...])`` of transformers and for TRL's trainers.

    The model is the trainer's own. Records go to ``records.jsonl`` and curves to a TensorBoard run in ``tensorboard``,
    both in the training's output directory; x = optimizer steps.

    Args:
        tasks: Held-out tasks: names, `TaskSpec`s or `HeldOutTask`s.
        processor: The model's processor; by default the trainer's ``processing_class``.
        schedule: When to probe.
        spec, execution, baseline, heatmap_every, progress: As for `PIDCallback`.
        directory: Where records and curves go, instead of the output directory.
        stage: Name of the stage in the records.

    Raises:
        UnknownNameError: A task, design, layer or setting that doesn't exist.
        InputError: A setting outside its range.
        ConfigError: No processor.
    """

    def __init__(
        self,
        tasks: Sequence[str | TaskSpec | HeldOutTask],
        *,
        processor: Any = None,
        schedule: Schedule = Schedule(every_n_steps=500, log_spaced=2.0),  # noqa: B008 (frozen)
        spec: ProbeSpec = ProbeSpec(),  # noqa: B008 (frozen)
        execution: Execution = Execution(),  # noqa: B008 (frozen)
        directory: str | None = None,
        stage: str = "train",
        baseline: bool = False,
        heatmap_every: int = 10,
        progress: bool = True,
    ) -> None:
        self.processor = processor
        self.schedule = schedule
        self.directory = directory
        self.stage = stage
        self.monitor = Monitor(
            tasks,
            spec=spec,
            execution=execution,
            baseline=baseline,
            heatmap_every=heatmap_every,
            progress=progress,
        )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        processor = self.processor if self.processor is not None else given.get("processing_class")
        if getattr(processor, "image_processor", None) is None:
            raise ConfigError(
                f"PIDTrainerCallback with the processor {type(processor).__name__}",
                "questions and images must be prepared, which takes a processor with tokenizer and image processor",
                "give it: Trainer(processing_class=processor) or PIDTrainerCallback(tasks, processor=processor)",
            )
        folder = Path(self.directory or str(args.output_dir))
        writers = Writers(folder) if state.is_world_process_zero else None
        lvlm, resumed = LVLM.wrap(_bare(given["model"]), processor), state.global_step > 0
        self.monitor.begin(lvlm, writers=writers, stage=self.stage, offset=0, resumed=resumed)
        if resumed:
            self.monitor.resume_at(state.global_step)
        elif self.schedule.at_start:
            self._probe(args, state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        # on_train_end is too late for the last step: the trainer may have loaded its best checkpoint by then.
        last = self.schedule.at_end and state.global_step >= state.max_steps
        if last or self.schedule.due(state.global_step):
            self._probe(args, state)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        if self.schedule.at_checkpoints:
            self._probe(args, state)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        if self.schedule.at_end and self.monitor.probed_at != state.global_step:
            if args.load_best_model_at_end and state.best_model_checkpoint is not None:
                warnings.warn(
                    f"step {state.global_step} was not probed: training stopped early and the weights of "
                    f"{state.best_model_checkpoint} were loaded; with at_checkpoints=True every saved step is probed",
                    stacklevel=2,
                )
            else:
                self._probe(args, state)
        rank_zero_info(f"PIDTrainerCallback: {self.monitor.finish(state.global_step)}")
        self.monitor.close()

    def _probe(self, args: TrainingArguments, state: TrainerState) -> None:
        self.monitor.probe(state.global_step, _precision(args))


def _bare(model: nn.Module) -> nn.Module:
    """The model inside what data parallelism puts around it."""
    return getattr(model, "module", model) if type(model).__name__ == "DistributedDataParallel" else model


def _precision(args: TrainingArguments) -> AbstractContextManager[Any]:
    """The autocast that the trainer runs its own forward passes in."""
    if not (args.bf16 or args.fp16):
        return nullcontext()
    return torch.autocast(args.device.type, dtype=torch.bfloat16 if args.bf16 else torch.float16)
