"""The stage that all training stages are: one model in three parts, one loss, one optimizer, exact checkpoints."""

import math
import os
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Self

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from fusionscope.errors import ConfigError
from fusionscope.lvlm import LVLM, PartName
from fusionscope.parallel import shard, total
from fusionscope.records import Run
from fusionscope.stages import tuning
from fusionscope.stages.checkpoint import (
    check,
    check_keys,
    check_shapes,
    fingerprint,
    restore_random_state,
    stamp,
    trained_keys,
)
from fusionscope.stages.config import (
    ALIGN_PROJECTOR,
    FROZEN,
    LORA,
    LoraSettings,
    PartConfig,
    QuantizationSettings,
)
from fusionscope.stages.export import export
from fusionscope.stages.files import check_whole, prepare_files
from fusionscope.stages.loading import load
from fusionscope.stages.loss import non_finite, summed_loss, tokens_seen
from fusionscope.stages.meter import StepMeter, StepSums
from fusionscope.stages.order import check_order
from fusionscope.stages.scaling import gradient_scaling
from fusionscope.stages.schedule import check as check_schedule
from fusionscope.stages.schedule import cosine_factor, warmup_steps
from fusionscope.stages.settings import encode
from fusionscope.stages.strategies import prepare


class _KeepsArguments(type(L.LightningModule)):  # type: ignore[misc]
    """Keeps the arguments that a stage was built with by name, whatever its class; see `VLMStage.settings`."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        stage = super().__call__(*args, **kwargs)
        parameters = signature(cls.__init__).parameters  # type: ignore[misc]
        arguments = signature(cls.__init__).bind(stage, *args, **kwargs).arguments  # type: ignore[misc]
        del arguments[next(iter(parameters))]  # self
        for name, parameter in parameters.items():
            if parameter.kind is Parameter.VAR_POSITIONAL and arguments.get(name):
                raise ConfigError(
                    f"{cls.__name__} was given arguments without a name for *{name}",
                    "checkpoints hold the arguments of their stage by name",
                    "pass them by name",
                )
            if parameter.kind is Parameter.VAR_KEYWORD:
                arguments |= arguments.pop(name, {})
        stage.constructor_arguments = arguments
        return stage


class VLMStage(L.LightningModule, metaclass=_KeepsArguments):
    """Train a vision-language model on assistant text, each part in its own way.

    The loss is averaged over the supervised tokens of the whole accumulated batch on all ranks, so one update is the
    same however the batch is cut: micro-batches add up gradients of summed losses, which are divided once by the number
    of tokens, before clipping. Checkpoints hold the trained weights alone, with name and fingerprint of the base model.

    It trains in one process, under DDP, FSDP2 (`ModelParallelStrategy` with ``tensor_parallel_size=1`` and
    ``save_distributed_checkpoint=False``, which is not Lightning's default) and DeepSpeed's ZeRO stages 1 and 2, whose
    engine casts the whole model to the precision and keeps the trained weights in float32 besides::

        trainer:
          strategy: deepspeed_stage_2  # pip install "fusionscope[deepspeed]"
          precision: bf16-mixed

    Args:
        model: Hugging Face directory or hub name of the model to start from.
        vision_tower: How the vision tower is trained.
        projector: How the projector is trained.
        language_model: How the language model, its head included, is trained; ``"lora"`` leaves the head out.
        lora: Settings of the parts tuned with ``"lora"``.
        weight_decay: AdamW's weight decay, on matrices only (no biases, no norms).
        betas: AdamW's betas.
        warmup_ratio: Fraction of the stage's optimizer steps with a rising learning rate.
        warmup_steps: Their number, instead of the fraction.
        min_lr_ratio: Learning rate at the end of the cosine, as a fraction of the peak.
        dtype: Dtype of the frozen weights (``"float32"``, ``"bfloat16"``, ``"float16"``); trained ones are kept in
            float32: pair ``"bfloat16"`` with ``trainer.precision=bf16-mixed``.
        attention: Attention implementation of transformers (``"sdpa"``, ``"eager"``, ``"flash_attention_2"``).
        gradient_checkpointing: Recompute decoder layers in the backward pass, to save memory.
        quantization: Hold the language model, frozen or with adapters, in fewer bits (QLoRA).
        compile_backend: Compile the training step's model with ``torch.compile`` and this backend (``"inductor"``);
            None does not compile. Probes run the model as it is.

    Raises:
        ConfigError: Every part is frozen, a language model in few bits is to be trained in full, or a setting of the
            schedule is no fraction.
    """

    constructor_arguments: dict[str, Any]

    def __init__(
        self,
        model: str,
        vision_tower: PartConfig = FROZEN,
        projector: PartConfig = ALIGN_PROJECTOR,
        language_model: PartConfig = FROZEN,
        lora: LoraSettings = LORA,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        warmup_ratio: float = 0.03,
        warmup_steps: int | None = None,
        min_lr_ratio: float = 0.0,
        dtype: str = "float32",
        attention: str = "sdpa",
        gradient_checkpointing: bool = False,
        quantization: QuantizationSettings | None = None,
        compile_backend: str | None = None,
    ) -> None:
        super().__init__()
        self.strict_loading = False  # keys are checked exactly here, see load_state_dict and on_load_checkpoint
        self.base = model
        self.lora = lora
        self.dtype_name = dtype
        self.attention = attention
        self.parts: dict[PartName, PartConfig] = {
            "vision_tower": vision_tower,
            "projector": projector,
            "language_model": language_model,
        }
        if all(part.tune == "frozen" for part in self.parts.values()):
            raise ConfigError("every part is frozen", "a stage trains something", "set tune and lr of a part")
        if quantization is not None and language_model.tune == "full":
            raise ConfigError(
                f"quantization of {quantization.bits} bits with language_model.tune='full'",
                "weights of few bits have no gradient",
                "set language_model.tune to lora, or leave quantization out",
            )
        self.quantization = quantization
        self.compile_backend = compile_backend
        check_schedule(warmup_ratio, warmup_steps, min_lr_ratio)
        self.weight_decay = weight_decay
        self.betas = betas
        self.min_lr_ratio = min_lr_ratio
        self.warmup_ratio = warmup_ratio
        self.warmup_steps = warmup_steps
        self.gradient_checkpointing = gradient_checkpointing
        self.step_offset = 0
        self.total_steps: int | None = None
        self.base_hash = ""
        self._random_states: list[dict[str, Any]] = []
        self._meter = StepMeter()

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments that build this stage again; checkpoints hold them.

        A stage whose constructor takes a default from elsewhere (a seed, an environment) overrides it and says what the
        default came to.
        """
        return dict(self.constructor_arguments)

    # building

    def setup(self, stage: str) -> None:
        """Refuse, before the model is loaded, what could not be trained or saved; choose how gradients are scaled."""
        prepare(self.trainer)
        prepare_files(self.trainer)
        encode(self.settings(), "settings")
        self.scaling = gradient_scaling(self.trainer)

    def configure_model(self) -> None:
        """Load the model and split it into its parts; does nothing when that is done.

        Under Lightning's ModelParallelStrategy the weights are then sharded over the processes (FSDP2).
        """
        if not hasattr(self, "network"):
            lvlm = load(self.base, dtype=self.dtype_name, attention=self.attention, quantization=self.quantization)
            self.base_hash = fingerprint(self.base, getattr(lvlm.model.config, "_commit_hash", None))
            self.attach(lvlm)
        if self.device_mesh is not None:
            shard(self.network, self.device_mesh["data_parallel"], block=GradientCheckpointingLayer)

    def attach(self, lvlm: LVLM) -> None:
        """Take a model that is built already, in place of loading `base`.

        Args:
            lvlm: The model and its processor; adapters are put in and parts frozen in place.
        """
        network = lvlm.model
        tuning.apply(network, self.parts, self.lora)
        if self.gradient_checkpointing:
            network.activation_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        if self.compile_backend is not None:
            network.compile(backend=self.compile_backend)
        self.lvlm = lvlm
        self.network = network
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Training mode for the trained parts alone."""
        super().train(mode)
        if mode and hasattr(self, "network"):
            tuning.freeze_modes(self.network, self.parts, recompute=self.gradient_checkpointing)
        return self

    def parameter_groups(self) -> list[dict[str, Any]]:
        """AdamW's groups: per trained part its matrices and, where there is weight decay, its vectors without."""
        return tuning.parameter_groups(self.network, self.parts, self.weight_decay)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW and, per optimizer step, warm-up and cosine over the whole stage.

        How many steps that is, is asked when training starts: the answer builds the training data, and Lightning
        restores its state only where it was not built before.
        """
        optimizer = torch.optim.AdamW(self.parameter_groups(), betas=self.betas)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._learning_rate_factor(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _learning_rate_factor(self, step: int) -> float:
        if self.total_steps is None:  # before the first step: a warm-up, where there is one, begins at 0
            return 0.0 if warmup_steps(1, self.warmup_ratio, self.warmup_steps) else 1.0
        warmup = warmup_steps(self.total_steps, self.warmup_ratio, self.warmup_steps)
        return cosine_factor(step, total=self.total_steps, warmup=warmup, min_ratio=self.min_lr_ratio)

    # training

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps of the whole run, those of earlier stages included."""
        return self.step_offset + self.global_step

    def on_fit_start(self) -> None:
        """Find where this stage begins on the run's axis of steps."""
        run = Run.find(self.trainer.default_root_dir)
        self.step_offset = run.current.step_offset if run is not None and run.current is not None else 0

    def on_train_start(self) -> None:
        """Count the stage's steps, and continue the data and the random streams of a resumed run.

        Raises:
            ConfigError: The stage has no end.
            DataError: A resumed run whose training data cannot go on where it stopped, or whose checkpoint is torn.
        """
        check_whole(self.trainer.ckpt_path)  # under FSDP2 and DeepSpeed nothing has looked at it yet
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise ConfigError("the stage has no end", "a cosine needs one", "set trainer.max_steps or max_epochs")
        self.total_steps = int(steps)
        self.scaling.check_windows()
        check_order(self.trainer)
        if self._random_states:
            restore_random_state(self._random_states, self.global_rank)
            self._random_states = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Start the clock of the micro-batch."""
        self._meter.start()
        self.scaling.begin_micro_batch(batch_idx)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Sum of the micro-batch's token losses; its gradient is scaled before the update."""
        loss, tokens = summed_loss(self.network, batch)
        self._meter.add(loss, tokens, tokens_seen(batch))
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Differentiate the sum, or the mean where it is known by now."""
        tokens = self._meter.tokens
        scale = 1.0 if tokens is None else self.scaling.loss_factor(tokens)
        super().backward(loss * scale, *args, **kwargs)

    def on_after_backward(self) -> None:
        """Read the clock of the micro-batch."""
        self._meter.stop()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Turn the gradient of the sum into that of the mean over all supervised tokens, before clipping.

        Raises:
            NonFiniteLossError: On all processes, before the update.
        """
        if self._meter.tokens is None or not self.scaling.is_update():
            return
        sums = self._meter.take(self.trainer.strategy)
        if not math.isfinite(sums.mean):
            step = f"optimizer step {self.optimizer_steps + 1}"
            raise non_finite(f"{step} is {sums.mean} (sum {sums.loss}, {sums.tokens:.0f} tokens)", self.network)
        if not sums.tokens:  # every sample was skipped, and named, by the data module
            self.scaling.drop(self)
            return
        self.scaling.scale(self, sums.tokens)
        self._log_step(optimizer, sums)

    def _log_step(self, optimizer: torch.optim.Optimizer, sums: StepSums) -> None:
        self.log("train/loss", sums.mean, prog_bar=True)
        self.log("step", float(self.optimizer_steps + 1))  # at every step: ModelCheckpoint names its files by it
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by its logger connector
        if not every or (self.global_step + 1) % every:
            return  # each value that Lightning is handed costs up to a millisecond, whether it is written or not
        self.log("train/tokens_per_second", sums.all_tokens / max(sums.seconds, 1e-9))
        for group in optimizer.param_groups:
            if not group["name"].endswith(tuning.VECTORS):
                self.log(f"train/lr/{group['name']}", group["lr"])

    def on_validation_epoch_start(self) -> None:
        """Begin a new mean."""
        self._validation = torch.zeros(2, device=self.device)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Add the batch's token losses."""
        self._validation += torch.stack(summed_loss(self.network, batch))

    def on_validation_epoch_end(self) -> None:
        """Log the mean over all supervised tokens of the validation data."""
        loss, tokens = total(self.trainer.strategy, self._validation).tolist()
        self.log("val/loss", loss / tokens if tokens else float("nan"), prog_bar=True)
        self.log("step", float(self.optimizer_steps))

    # checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what is not trained, and note the base model, the settings and the random state of every rank."""
        stamp(checkpoint, self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint belongs to this base model and keep its random state for the start."""
        self._random_states = check(checkpoint, self)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load trained weights, or all; anything in between is refused.

        Args:
            state_dict: The weights.
            strict: Has no effect: keys are always checked.
            assign: As in torch.

        Raises:
            DataError: Trained weights are missing or of another shape, or there are others.
        """
        state = self.state_dict()
        check_keys(state_dict, trained_keys(self), set(state))
        check_shapes(state_dict, state)
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def export(self, directory: str | os.PathLike[str]) -> Path:
        """Write the whole model, adapters merged, and its processor as a Hugging Face directory.

        Every process must call it; the first one writes.

        Args:
            directory: Where; created where missing.

        Returns:
            The directory, which ``from_pretrained`` of transformers loads.
        """
        return export(self, directory)
