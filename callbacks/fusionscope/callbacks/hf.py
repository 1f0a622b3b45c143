"""PID of a vision-language model that Hugging Face's Trainer, or one of TRL's, trains."""

import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fusionscope.callbacks.base import ProbingCallback
from fusionscope.callbacks.writers import Writers
from fusionscope.errors import ConfigError
from fusionscope.lvlm import LVLM
from fusionscope.records import Origin, Start, join

_KEY = "fusionscope_records"
"""Where a trainer's state, which each of its checkpoints holds, says which records were written while it trained."""


class PIDTrainerCallback(ProbingCallback, TrainerCallback):
    """`fusionscope.callbacks.PIDCallback` for ``Trainer(callbacks=[...])`` of transformers and for TRL's trainers.

    Records go to ``records.jsonl`` and curves to a TensorBoard run in ``tensorboard``, both in the training's output
    directory; x = optimizer steps. A second ``train()``, or one in an output directory that was used before, is a new
    attempt; a resumed one goes on with its records.

    Its arguments are those of `fusionscope.callbacks.base.ProbingCallback`; the model is the trainer's own unless
    ``model`` names an attribute of it, and the processor is the trainer's ``processing_class`` unless it is given.

    Example::

        Trainer(..., processing_class=processor, callbacks=[PIDTrainerCallback(["pope/random"])])
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        self.monitor.forget()
        self.monitor.take(self._find_lvlm(given["model"], given.get("processing_class")))
        start = self._start(args, state)
        place = join(Path(self.directory or str(args.output_dir)), start)
        self.monitor.begin(start, place, Writers(place, say=tqdm.write) if state.is_world_process_zero else None)
        state.stateful_callbacks[self._key] = {"origin": self.monitor.origin.to_json(), "since": state.global_step}
        if self.schedule.at_start and state.global_step == 0:
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
        cost = self.monitor.finish()
        if state.is_world_process_zero:
            tqdm.write(f"PIDTrainerCallback: {cost}")
        self.monitor.close()

    def _probe(self, args: TrainingArguments, state: TrainerState) -> None:
        self.monitor.probe(state.global_step, _precision(args))

    def _start(self, args: TrainingArguments, state: TrainerState) -> Start:
        """The training that starts.

        What the state holds is a checkpoint's, saved after the training that made it began, or that of a callback
        before this one in the trainer, which has begun at this very step.
        """
        earlier = state.stateful_callbacks.get(self._key)
        fresh = earlier is None and state.global_step == 0
        return Start(
            stage=self.stage or "train",
            step=None if fresh else state.global_step,
            origin=Origin.from_json(earlier and earlier["origin"]),
            alongside=earlier is not None and earlier["since"] == state.global_step,
            checkpoint=Path(str(args.output_dir)) / f"checkpoint-{state.global_step}",
            moves=False,
        )

    @property
    def _key(self) -> str:
        return f"{_KEY}:{self.directory}" if self.directory else _KEY

    def _find_lvlm(self, trained: nn.Module, processing_class: Any) -> LVLM:
        model = _bare(trained)
        processor = self.resolve(model, self.processor) if self.processor is not None else processing_class
        if getattr(processor, "image_processor", None) is None:
            raise ConfigError(
                f"PIDTrainerCallback with the processor {type(processor).__name__}",
                "questions and images must be prepared, which takes a processor with tokenizer and image processor",
                "give it: Trainer(processing_class=processor) or PIDTrainerCallback(tasks, processor=processor)",
            )
        return LVLM.wrap(model if self.model is None else self.resolve(model, self.model), processor)


def _bare(model: nn.Module) -> nn.Module:
    """The model inside what data parallelism puts around it."""
    return getattr(model, "module", model) if type(model).__name__ == "DistributedDataParallel" else model


def _precision(args: TrainingArguments) -> AbstractContextManager[Any]:
    """The autocast that the trainer runs its own forward passes in."""
    if not (args.bf16 or args.fp16):
        return nullcontext()
    return torch.autocast(args.device.type, dtype=torch.bfloat16 if args.bf16 else torch.float16)
