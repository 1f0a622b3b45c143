"""One training run for test_distributed.py, in as many processes as it is told; rank 0 writes what came out as JSON.

usage: ddp_run.py MODEL DIRECTORY STRATEGY DEVICES BATCH_SIZE KIND N [CHECKPOINT]
"""

import json
import sys
from pathlib import Path

import lightning as L
import torch

from fusionscope.callbacks import PIDCallback, Schedule
from fusionscope.data import LlavaDataModule
from fusionscope.probe import ProbeSpec
from fusionscope.stages import AlignmentPretraining, LoraSettings, PartConfig, VisualInstructionTuning
from fusionscope.tasks import load_task


class Losses(L.Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []
        self.last = 0

    def on_train_start(self, trainer, pl_module):
        self.last = trainer.global_step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step > self.last:
            self.last = trainer.global_step
            self.losses.append(float(trainer.callback_metrics["train/loss"]))


class Saving(L.Callback):
    """A checkpoint in the middle of the first epoch."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 2 and batch_idx == 3:
            trainer.save_checkpoint(self.directory / "middle.ckpt")


def stage(kind: str, model: str) -> L.LightningModule:
    full = PartConfig(tune="full", lr=1e-2)
    if kind == "alignment":
        return AlignmentPretraining(model, projector=full)
    lora = PartConfig(tune="lora", lr=1e-2)
    settings = LoraSettings(rank=2, alpha=4, dropout=0.0)
    dtype = "bfloat16" if kind == "bfloat16" else "float32"
    module = VisualInstructionTuning(model, projector=full, language_model=lora, lora=settings, dtype=dtype)
    if kind == "sgd":  # whose update shows a gradient of the wrong size, as Adam's does not
        module.configure_optimizers = lambda: torch.optim.SGD([{**g, "lr": 0.1} for g in module.parameter_groups()])
    return module


def strategy(name: str, devices: int):
    if name == "fsdp2":
        from lightning.pytorch.strategies import ModelParallelStrategy

        return ModelParallelStrategy(
            data_parallel_size=devices, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
    if name.startswith("deepspeed"):
        from deepspeed_on_cpu import DeepSpeedOnCPU  # beside this script, as below

        return DeepSpeedOnCPU(stage=int(name[-1]), logging_batch_size_per_gpu=1)
    return name


def main(
    model: str, directory: str, name: str, devices: int, batch_size: int, kind: str, n: int, ckpt: str = ""
) -> None:
    from conftest import Toy  # beside this script; pytest, which collects it too, doesn't look there

    torch.set_num_threads(1)
    torch.manual_seed(0)
    losses, module = Losses(), stage(kind, model)
    tasks = [load_task(f"sandbox/{variant}", images=48) for variant in ("synergy", "redundant")]
    schedule = Schedule(every_n_steps=3, at_start=False)
    pid = PIDCallback(tasks, schedule=schedule, spec=ProbeSpec(layers=[2, 4]), directory=directory, progress=False)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy=strategy(name, devices),
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[losses, pid],
        default_root_dir=directory,
        accumulate_grad_batches=2,
        gradient_clip_val=None if kind == "sgd" else 1.0,
        precision="bf16-mixed" if kind == "bfloat16" else "32-true",
    )
    saving = Saving(Path(directory)) if not ckpt else None
    trainer.callbacks.extend([saving] if saving else [])
    data = LlavaDataModule(train=Toy(n), batch_size=batch_size, seed=3)
    trainer.fit(module, datamodule=data, ckpt_path=ckpt or None)
    trainer.save_checkpoint(f"{directory}/last.ckpt")
    module.export(f"{directory}/exported")
    if trainer.is_global_zero:
        Path(directory, "losses.json").write_text(json.dumps(losses.losses))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6], int(sys.argv[7]), *sys.argv[8:])
