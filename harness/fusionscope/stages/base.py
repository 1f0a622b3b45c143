"""The stage that all training stages are: one model in three parts, one loss, one optimizer, exact checkpoints."""

import math
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from fusionscope.errors import ConfigError, DataError
from fusionscope.lvlm import LVLM
from fusionscope.parallel import all_gather, barrier, gathered, shard, total
from fusionscope.records import Journey
from fusionscope.stages.checkpoint import (
    KEY,
    check_adapters,
    check_base,
    check_keys,
    fingerprint,
    keep,
    trained_keys,
)
from fusionscope.stages.config import (
    ALIGN_PROJECTOR,
    FROZEN,
    LORA,
    PART_NAMES,
    LoraSettings,
    PartConfig,
    PartName,
    QuantizationSettings,
)
from fusionscope.stages.loading import load
from fusionscope.stages.lora import add_adapters, merged
from fusionscope.stages.loss import non_finite, summed_loss, tokens_seen
from fusionscope.stages.parts import modules_of, parameters_by_part
from fusionscope.stages.schedule import check, cosine_factor, warmup_steps
from fusionscope.stages.strategies import (
    begin_micro_batch,
    check_windows,
    drop_gradients,
    is_update,
    loss_scale,
    prepare,
    scale_gradients,
)


class VLMStage(L.LightningModule):
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
        warmup_ratio: Share of the stage's optimizer steps with a rising learning rate.
        warmup_steps: Their number, in place of the share.
        min_lr_ratio: Learning rate at the end of the cosine, as a share of the peak.
        dtype: Dtype of the frozen weights (``"float32"``, ``"bfloat16"``, ``"float16"``); trained ones are kept in
            float32: pair ``"bfloat16"`` with ``trainer.precision=bf16-mixed``.
        attention: Attention implementation of transformers (``"sdpa"``, ``"eager"``, ``"flash_attention_2"``).
        gradient_checkpointing: Recompute decoder layers in the backward pass, to save memory.
        quantization: Hold the language model, frozen or with adapters, in fewer bits (QLoRA).
        compile_backend: Compile the training step's model with ``torch.compile`` and this backend (``"inductor"``);
            None does not compile. Probes run the model as it is.

    Raises:
        ConfigError: Every part is frozen, a language model in few bits is to be trained in full, or a setting of the
            schedule is no share.
    """

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
        self.base, self.lora, self.dtype_name, self.attention = model, lora, dtype, attention
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
        self.quantization, self.compile_backend = quantization, compile_backend
        check(warmup_ratio, warmup_steps, min_lr_ratio)
        self.weight_decay, self.betas, self.min_lr_ratio = weight_decay, betas, min_lr_ratio
        self.warmup_ratio, self.warmup_steps = warmup_ratio, warmup_steps
        self.gradient_checkpointing = gradient_checkpointing
        self.step_offset = 0
        self._base_hash = ""
        self._rng: list[dict[str, Any]] = []
        self._sums: Tensor | None = None
        self._seconds = self._since = 0.0

    # building

    def setup(self, stage: str) -> None:
        """Refuse a strategy that the stage cannot be trained under, before the model is loaded."""
        prepare(self.trainer)

    def configure_model(self) -> None:
        """Load the model and split it into its parts; does nothing when that is done.

        Under Lightning's ModelParallelStrategy the weights are then sharded over the processes (FSDP2).
        """
        if not hasattr(self, "network"):
            lvlm = load(self.base, dtype=self.dtype_name, attention=self.attention, quantization=self.quantization)
            self._base_hash = fingerprint(self.base, getattr(lvlm.model.config, "_commit_hash", None))
            self.attach(lvlm)
        if self.device_mesh is not None:
            shard(self.network, self.device_mesh["data_parallel"], block=GradientCheckpointingLayer)

    def attach(self, lvlm: LVLM) -> None:
        """Take a model that is built already, in place of loading `base`.

        Args:
            lvlm: The model and its processor; adapters are put in and parts frozen in place.
        """
        network = lvlm.model
        adapted = [part for part in PART_NAMES if self.parts[part].tune == "lora"]
        for part, parameters in parameters_by_part(network).items():
            for parameter in parameters.values():
                parameter.requires_grad_(self.parts[part].tune == "full")
        if adapted:
            trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
            add_adapters(network, adapted, self.lora)
            for parameter in trained:
                parameter.requires_grad_(True)  # peft freezes all but its own
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        if self.gradient_checkpointing:
            network.activation_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        if self.compile_backend is not None:
            network.compile(backend=self.compile_backend)
        self.lvlm, self.network = lvlm, network
        self.train()

    def train(self, mode: bool = True) -> "VLMStage":
        """Training mode for the trained parts alone."""
        super().train(mode)
        if mode and hasattr(self, "network"):
            for part, config in self.parts.items():
                if config.tune == "frozen":
                    for module in modules_of(self.network, part).values():
                        # transformers recomputes a layer only where its own flag says "training"; what is inside it
                        # (dropout) stays in evaluation mode
                        module.training = self.gradient_checkpointing and isinstance(module, GradientCheckpointingLayer)
        return self

    def parameter_groups(self) -> list[dict[str, Any]]:
        """AdamW's groups: per trained part its matrices and, where there is weight decay, its vectors without."""
        groups: list[dict[str, Any]] = []
        for part, parameters in parameters_by_part(self.network).items():
            trained = {name: p for name, p in parameters.items() if p.requires_grad}
            vectors = [p for p in trained.values() if p.ndim < 2] if self.weight_decay else []
            matrices = [p for p in trained.values() if p.ndim >= 2 or not self.weight_decay]
            for name, params, decay in ((part, matrices, self.weight_decay), (f"{part}_vectors", vectors, 0.0)):
                if params:
                    groups.append({"name": name, "params": params, "lr": self.parts[part].lr, "weight_decay": decay})
        return groups

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW and, per optimizer step, warm-up and cosine over the whole stage."""
        optimizer = torch.optim.AdamW(self.parameter_groups(), betas=self.betas)
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise ConfigError("the stage has no end", "a cosine needs one", "set trainer.max_steps or max_epochs")
        check_windows(self.trainer)
        warmup = warmup_steps(int(steps), self.warmup_ratio, self.warmup_steps)
        factor = partial(cosine_factor, total=int(steps), warmup=warmup, min_ratio=self.min_lr_ratio)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # training

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps of the whole journey, those of earlier stages included."""
        return self.step_offset + self.global_step

    def on_fit_start(self) -> None:
        """Find where this stage begins on the journey's axis."""
        journey = Journey.find(self.trainer.default_root_dir)
        self.step_offset = journey.current.step_offset if journey is not None and journey.current is not None else 0

    def on_train_start(self) -> None:
        """Continue the random streams of a resumed run."""
        if self._rng:
            state = self._rng[self.global_rank % len(self._rng)]
            torch.set_rng_state(state["cpu"].cpu())
            if state["cuda"] and torch.cuda.is_available():
                torch.cuda.set_rng_state(state["cuda"][0].cpu())
            self._rng = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Start the clock of the micro-batch."""
        self._since = time.perf_counter()
        begin_micro_batch(self.trainer, batch_idx)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Sum of the micro-batch's token losses; its gradient is scaled before the update."""
        loss, tokens = summed_loss(self.network, batch)
        sums = torch.stack((loss.detach(), tokens, tokens_seen(batch)))
        self._sums = sums if self._sums is None else self._sums + sums
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Differentiate the sum, or the mean where it is known by now."""
        scale = 1.0 if self._sums is None else loss_scale(self.trainer, self._sums[1])
        super().backward(loss * scale, *args, **kwargs)

    def on_after_backward(self) -> None:
        """Read the clock of the micro-batch."""
        self._read_clock()

    def _read_clock(self) -> None:
        now = time.perf_counter()
        self._seconds, self._since = self._seconds + now - self._since, now

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Turn the gradient of the sum into that of the mean over all supervised tokens, before clipping.

        Raises:
            NonFiniteLossError: On all processes, before the update.
        """
        if self._sums is None or not is_update(self.trainer):
            return
        loss, tokens, seen = total(self.trainer.strategy, self._sums).tolist()
        self._read_clock()  # only here has a GPU done what it was told
        seconds, self._sums, self._seconds = self._seconds, None, 0.0
        mean = loss / tokens if tokens else loss
        if not math.isfinite(mean):
            step = f"optimizer step {self.optimizer_steps + 1}"
            raise non_finite(f"{step} is {mean} (sum {loss}, {tokens:.0f} tokens)", self.network)
        if not tokens:  # every sample was skipped, and named, by the data module
            drop_gradients(self)
            return
        scale_gradients(self, 1.0 / tokens)
        self._log_step(optimizer, mean, seen / max(seconds, 1e-9))

    def _log_step(self, optimizer: torch.optim.Optimizer, loss: float, speed: float) -> None:
        self.log("train/loss", loss, prog_bar=True)
        self.log("step", float(self.optimizer_steps + 1))  # at every step: ModelCheckpoint names its files by it
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by its logger connector
        if not every or (self.global_step + 1) % every:
            return  # each value that Lightning is handed costs up to a millisecond, whether it is written or not
        self.log("train/tokens_per_second", speed)
        for group in optimizer.param_groups:
            if not group["name"].endswith("_vectors"):
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
        checkpoint["state_dict"] = keep(checkpoint["state_dict"], trained_keys(self))
        cuda = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
        checkpoint[KEY] = {
            "stage": type(self).__name__,
            "base": self.base,
            "base_hash": self._base_hash,
            "parts": {name: asdict(part) for name, part in self.parts.items()},
            "lora": asdict(self.lora),
            "keys": sorted(trained_keys(self)),
            "rng": all_gather({"cpu": torch.get_rng_state(), "cuda": cuda}),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint belongs to this base model and keep its random state for the start."""
        if KEY not in checkpoint:
            raise DataError(
                "the checkpoint was not saved by a fusionscope stage",
                "it doesn't say which base model its weights belong to",
                "give one that a stage has saved",
            )
        check_base(checkpoint[KEY], self.base, self._base_hash)
        check_keys(checkpoint[KEY]["keys"], trained_keys(self), set(self.state_dict()))
        check_adapters(checkpoint[KEY], self.lora)
        self._rng = checkpoint[KEY]["rng"]

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load trained weights, or all; anything in between is refused.

        Args:
            state_dict: The weights.
            strict: Has no effect: keys are always checked.
            assign: As in torch.

        Raises:
            DataError: Trained weights are missing, or there are others.
        """
        check_keys(state_dict, trained_keys(self), set(self.state_dict()))
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def export(self, directory: str | Path) -> Path:
        """Write the whole model, adapters merged, and its processor as a Hugging Face directory.

        Every process must call it; the first one writes.

        Args:
            directory: Where; created where missing.

        Returns:
            The directory, which ``from_pretrained`` of transformers loads.
        """
        if self.quantization is not None:
            return self._export_unquantized(directory)
        path, writes, state = Path(directory), self.global_rank == 0, {}
        if writes or self.device_mesh is not None:  # shards are of use to the first process only together
            state = gathered(merged(self.network), keep=writes)
        if writes:
            self.network.save_pretrained(path, state_dict=state)  # type: ignore[operator]
            self.lvlm.processor.save_pretrained(path)
        barrier()
        return path

    def _export_unquantized(self, directory: str | Path) -> Path:
        """Put what was trained on the base model as it was before quantization, and export that."""
        if self.global_rank == 0:
            whole = VLMStage(
                self.base,
                vision_tower=self.parts["vision_tower"],
                projector=self.parts["projector"],
                language_model=self.parts["language_model"],
                lora=self.lora,
                dtype=self.dtype_name,
                attention=self.attention,
            )
            whole.configure_model()
            whole.load_state_dict(keep(self.state_dict(), trained_keys(self)))
            whole.network.save_pretrained(directory, state_dict=dict(merged(whole.network)))  # type: ignore[operator]
            self.lvlm.processor.save_pretrained(directory)
        barrier()
        return Path(directory)
