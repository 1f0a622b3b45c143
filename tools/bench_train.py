"""Our stage against a bare PyTorch loop and transformers' Trainer, and what PID monitoring adds.

    python tools/bench_train.py [--rounds 6] [--steps 8] [--batch-size 16] [--device cpu] [--out FILE]
    python tools/bench_train.py --only flops     # the recipe llava15_7b's schedule, counted; runs no model
    python tools/bench_train.py --only long      # a long run of the sandbox's stage 2 with that schedule, measured
    python tools/bench_train.py --only 7b --shape tiny    # the GPU part's logic, on a miniature

1. Step time and tokens per second on the same model, batches and optimizer. The three ways take turns in one process,
   a round each, and ratios are taken within a round, so that a machine whose load drifts drags all of them; the median
   ratio and its quartiles are printed, and each way's least time, which other work on the machine disturbs least.
   Collating is done beforehand: what is compared is the step.
2. What one PIDCallback probe costs, in seconds, in tokens and in steps of training.
3. Floating point operations of the recipe llava15_7b with its schedule, probes and training (bench_flops.py).
4. A long run of the sandbox's stage 2 with PIDCallback, on the schedule, the number of steps and the size of task of
   llava15_7b/2_instruct: what the probes took of it, by the clock. (The recipe `sandbox` itself probes far more often
   than is needed to see a run, to have every point of its curves checked.)
5. With a GPU: LLaVA-1.5-7B's shape with random weights, projector alone and LoRA: step time, utilisation, memory, and
   how far they are from what operations and bytes allow (bench_7b.py).
"""

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from bench_7b import seven_b
from bench_flops import flops, schedule_of
from torch.utils.data import DataLoader
from transformers.utils.logging import disable_progress_bar

from fusionscope.callbacks import PIDCallback
from fusionscope.data import Collator
from fusionscope.lvlm import LVLM
from fusionscope.probe import ProbeSpec, probe
from fusionscope.stages import PartConfig, VisualInstructionTuning
from fusionscope.tasks import load_task

RATE = 1e-4
FULL = PartConfig(tune="full", lr=RATE)
LEARNT = PartConfig(tune="full", lr=1e-3)


class Clock(L.Callback):
    """Time of each optimizer step, the first one (allocation) left out."""

    def __init__(self, device: str) -> None:
        self.device, self.seconds = device, 0.0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        settle(self.device)
        if batch_idx == 0:
            self.begin = now(self.device)
        self.seconds = now(self.device) - self.begin


def now(device: str) -> float:
    """On a CPU the processor time of this process, which other processes on the machine disturb less than the clock."""
    return time.perf_counter() if device.startswith("cuda") else time.process_time()


def settle(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def sized(folder: str, width: int, layers: int) -> str:
    """A LLaVA of the sandbox's kind with random weights, wide enough that a step is arithmetic rather than overhead."""
    from transformers import LlavaForConditionalGeneration

    from fusionscope.sandbox.model import build_config, build_processor

    config = build_config()
    config.text_config.hidden_size, config.text_config.intermediate_size = width, 2 * width
    config.text_config.num_hidden_layers, config.text_config.head_dim = layers, width // 4
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    build_processor().save_pretrained(folder)
    return folder


def batches_of(model: str, n: int, size: int) -> list[dict[str, torch.Tensor]]:
    from fusionscope.sandbox import Instructions

    rows = Instructions(n=n * size, part="train")
    lvlm = LVLM.from_pretrained(model)
    collate = Collator(lvlm.processor, family=lvlm.family)
    return [collate([rows[i * size + j] for j in range(size)]) for i in range(n)]


def ours(model: str, batches: list[dict[str, torch.Tensor]], device: str) -> float:
    stage, clock = VisualInstructionTuning(model, projector=FULL, language_model=FULL, warmup_steps=0), Clock(device)
    trainer = L.Trainer(
        accelerator="gpu" if device.startswith("cuda") else "cpu",
        devices=1,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    trainer.fit(stage, DataLoader(batches, batch_size=None))
    return clock.seconds


def trainable(model: str, device: str) -> torch.nn.Module:
    network = LVLM.from_pretrained(model, dtype=torch.float32).model.to(device).train()
    network.model.vision_tower.requires_grad_(False)
    return network


def bare(model: str, batches: list[dict[str, torch.Tensor]], device: str) -> float:
    """What one would write by hand: the model's own loss, AdamW (as the others: not fused), a cosine."""
    network = trainable(model, device)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    for i, batch in enumerate(batches):
        network(**{key: value.to(device) for key, value in batch.items()}, use_cache=False).loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        settle(device)
        if i == 0:
            begin = now(device)
    return now(device) - begin


def hugging_face(model: str, batches: list[dict[str, torch.Tensor]], device: str) -> float:
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    class Begin(TrainerCallback):
        begin = end = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **settings: Any) -> None:
            settle(device)
            self.end = now(device)
            if state.global_step == 1:
                self.begin = self.end

    clock = Begin()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=1,
            num_train_epochs=1,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            optim="adamw_torch",
            max_grad_norm=0.0,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=not device.startswith("cuda"),
        )
        trainer = Trainer(
            trainable(model, device),
            arguments,
            train_dataset=batches,
            callbacks=[clock],
            data_collator=lambda given: given[0],  # a "sample" is a whole batch that is collated already
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.end - clock.begin


WAYS: dict[str, Callable[..., float]] = {"ours": ours, "bare loop": bare, "Trainer": hugging_face}


def race(options: argparse.Namespace) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or sized(folder, options.width, options.layers)
        batches = batches_of(model, options.steps + 1, options.batch_size)
        tokens = sum(int(batch["attention_mask"].sum()) for batch in batches[1:])
        times: dict[str, list[float]] = {name: [] for name in WAYS}
        for i in range(options.rounds + 1):
            order = list(WAYS.items())
            order = order[i % 3 :] + order[: i % 3]
            for name, way in order:
                seconds = way(model, batches, options.device)
                if i:  # the first round warms up
                    times[name].append(seconds / options.steps)
        yield options.model or f"LLaVA of random weights, width {options.width}, {options.layers} layers"
        yield f"batch {options.batch_size}, {tokens / options.steps:.0f} tokens a step, float32, {_kind(options)}"
        yield f"{'':12}{'ms a step':>12}{'least':>8}{'tokens/s':>12}{'of bare loop: median (quartiles)':>36}"
        for name, found in times.items():
            ratios = [mine / other for mine, other in zip(found, times["bare loop"], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            step = statistics.median(found)
            rate = tokens / options.steps / step
            quartiles = f"{middle:18.3f} ({low:.3f} to {high:.3f})"
            yield f"{name:12}{1e3 * step:12.1f}{1e3 * min(found):8.1f}{rate:12,.0f}{quartiles}"
        against = [mine / other for mine, other in zip(times["ours"], times["Trainer"], strict=True)]
        low, middle, high = statistics.quantiles(against, n=4)
        yield f"ours / Trainer: median {middle:.3f} ({low:.3f} to {high:.3f}); {options.rounds} rounds"
        yield from overhead(model, options, statistics.median(times["ours"]))


def _kind(options: argparse.Namespace) -> str:
    return "by the clock" if options.device.startswith("cuda") else "processor time"


def overhead(model: str, options: argparse.Namespace, step: float) -> Iterator[str]:
    lvlm = LVLM.from_pretrained(model, dtype=torch.float32)
    lvlm.model.to(options.device).eval()
    task, found = load_task("sandbox/synergy", images=48), []
    for _ in range(3):
        found.append(probe(lvlm, task)[0])
    seconds = statistics.median(result.seconds for result in found)
    yield (
        f"one probe of {task.name} ({len(task.images)} x {len(task.questions)}, all layers): "
        f"{found[0].tokens:,} tokens, {seconds:.2f} s, {seconds / step:.1f} steps of training"
    )


def long(options: argparse.Namespace) -> Iterator[str]:
    """Train the sandbox's model for as many steps as the recipe of LLaVA-1.5-7B has, probing when that one does."""
    from fusionscope.sandbox import Instructions
    from fusionscope.sandbox.model import write

    schedule, settings = schedule_of("llava15_7b/2_instruct")
    n, batch = settings["trainer"]["callbacks"][0]["init_args"]["tasks"][0]["settings"]["n"], options.long_batch
    task = load_task("sandbox/synergy", images=n)
    with tempfile.TemporaryDirectory() as folder:
        model = str(write(Path(folder) / "model", seed=0))
        stage = VisualInstructionTuning(model, projector=LEARNT, language_model=LEARNT)
        pid = PIDCallback([task], schedule=schedule, directory=folder, progress=False)
        rows = Instructions(n=options.long_steps * batch, part="train", seed=0)
        trainer = L.Trainer(
            accelerator="gpu" if options.device.startswith("cuda") else "cpu",
            devices=1,
            max_epochs=1,
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_progress_bar=False,
            callbacks=[pid],
            enable_model_summary=False,
        )
        lvlm = LVLM.from_pretrained(model)
        collate = Collator(lvlm.processor, family=lvlm.family)
        trainer.fit(stage, DataLoader(rows, batch_size=batch, collate_fn=collate))  # type: ignore[arg-type]
        cost, (last,) = pid.monitor.cost, probe(stage.lvlm, task, ProbeSpec(layers=[-1]))
    yield (
        f"sandbox stage 2, {options.long_steps:,} steps of {batch}, schedule of llava15_7b/2_instruct (at start and "
        f"end, 1, 2, 4, ... and every {schedule.every_n_steps} steps), {task.name} with {n} images, all layers:"
    )
    yield f"{cost}; accuracy at the end {last.accuracy:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="directory or hub name of a LLaVA; one of random weights by default")
    parser.add_argument("--width", type=int, default=384, help="of the random one's language model")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=8, help="timed steps a round")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part, or several; all by default")
    parser.add_argument("--long-steps", type=int, default=5198, help="of the long run; LLaVA-1.5's stage 2 has 5,198")
    parser.add_argument("--long-batch", type=int, default=16)
    parser.add_argument("--shape", choices=("7b", "tiny"), default="7b", help="tiny: the 7B part's logic on a CPU")
    parser.add_argument("--gpu-batch", type=int, default=8)
    parser.add_argument("--text-tokens", type=int, default=128, help="of the 7B part's samples")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="of the GPU in bf16 (989: H100 SXM)")
    parser.add_argument("--peak-bandwidth", type=float, default=3.35, help="of its memory in TB/s (3.35: H100 SXM)")
    parser.add_argument("--out", type=Path, help="also write the lines here")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
    disable_progress_bar()
    said = [f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {options.device}, {load()}"]
    print(said[0], flush=True)
    for name in options.only or PARTS:
        for line in PARTS[name](options):
            said.append(line)
            print(line, flush=True)
    said.append(load())
    if options.out:
        options.out.write_text("\n".join(said) + "\n")


def load() -> str:
    """How busy the machine is, which times by the clock depend on."""
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    "race": race,
    "flops": flops,
    "long": long,
    "7b": seven_b,
}


if __name__ == "__main__":
    main()
