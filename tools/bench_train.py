"""Our stage against a bare PyTorch loop and transformers' Trainer, and what PID monitoring adds.

    python tools/bench_train.py [--rounds 6] [--steps 8] [--batch-size 16] [--device cpu] [--out FILE]
    python tools/bench_train.py --flops          # the recipe llava15_7b's schedule, counted; runs no model

1. Step time and tokens per second on the same model, batches and optimizer. The three ways take turns in one process,
   a round each, and ratios are taken within a round, so that a machine whose load drifts drags all of them; the median
   ratio and its quartiles are printed. Collating is done beforehand: what is compared is the step.
2. What one PIDCallback probe costs, in seconds, in tokens and in steps of training.
3. Floating point operations of the recipe llava15_7b with its schedule, probes and training, from the sizes alone.
4. With a GPU: LLaVA-1.5-7B's shape with random weights, projector alone and LoRA: step time, model FLOPs utilisation
   (of --peak-tflops) and memory.

Operations are counted as 2 N per token forward, 2 N more for gradients of activations, 2 N more for those of trained
weights, and 2 N where layers are recomputed (gradient checkpointing), N being the decoder's parameters; attention adds
4 L D per pair of tokens, which at these lengths is a few per cent, and is counted.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader
from transformers.utils.logging import disable_progress_bar

from fusionscope.callbacks.schedule import Schedule
from fusionscope.data import Collator, load_task
from fusionscope.lvlm import LVLM
from fusionscope.probe import probe
from fusionscope.stages import LoraSettings, PartConfig, VisualInstructionTuning

RATE = 1e-4
FULL = PartConfig(tune="full", lr=RATE)


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
    collate = Collator(LVLM.from_pretrained(model).processor)
    return [collate([rows[i * size + j] for j in range(size)]) for i in range(n)]


def ours(model: str, batches: list[dict[str, torch.Tensor]], device: str) -> float:
    stage, clock = VisualInstructionTuning(model, projector=FULL, language_model=FULL, warmup_steps=0), Clock(device)
    trainer = L.Trainer(
        accelerator="gpu" if device.startswith("cuda") else "cpu", devices=1, max_epochs=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[clock],
    )  # fmt: skip
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
    from transformers import Trainer, TrainerCallback, TrainingArguments

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
            folder, per_device_train_batch_size=1, num_train_epochs=1, learning_rate=RATE, lr_scheduler_type="cosine",
            optim="adamw_torch", max_grad_norm=0.0, report_to=[], save_strategy="no", logging_strategy="no",
            disable_tqdm=True, remove_unused_columns=False, use_cpu=not device.startswith("cuda"),
        )  # fmt: skip
        # a "sample" is a whole batch that is collated already
        Trainer(
            trainable(model, device), arguments, train_dataset=batches, data_collator=lambda given: given[0],
            callbacks=[clock],
        ).train()  # fmt: skip
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
        yield f"{'':12}{'ms a step':>12}{'tokens/s':>12}{'of bare loop: median (quartiles)':>36}"
        for name, found in times.items():
            ratios = [mine / other for mine, other in zip(found, times["bare loop"], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            step = statistics.median(found)
            rate = tokens / options.steps / step
            yield f"{name:12}{1e3 * step:12.1f}{rate:12,.0f}{middle:18.3f} ({low:.3f} to {high:.3f})"
        against = [mine / other for mine, other in zip(times["ours"], times["Trainer"], strict=True)]
        yield f"ours / Trainer: median {statistics.median(against):.3f}"
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


def decoder_flops(tokens: int, length: int, *, size: dict[str, int], passes: float) -> float:
    """Operations of some tokens in sequences of some length; ``passes`` in units of one forward pass."""
    per_token = 2 * size["parameters"] + 2 * size["layers"] * size["width"] * length  # causal: half of 4 L D T
    return float(tokens) * per_token * passes


LLAVA_7B = {"parameters": 6_738_939_904, "layers": 32, "width": 4096, "vision": 303_507_456, "image_tokens": 576}


def schedule_of(recipe: str) -> tuple[Schedule, dict[str, Any]]:
    import yaml

    from fusionscope.cli.recipes import known_recipes

    settings = yaml.safe_load(known_recipes()[recipe].read_text())
    callback = settings["trainer"]["callbacks"][0]["init_args"]
    return Schedule(**callback["schedule"]), settings


def flops(options: argparse.Namespace) -> Iterator[str]:
    """Probes against training for the recipes of llava15_7b: (images, questions) of POPE's draw of n pairs at most."""
    yield (
        f"{'recipe':32}{'steps':>7}{'probes':>8}{'a step':>12}{'a probe':>12}{'share of FLOPs':>16}"
        f"{'of time if one GPU probes':>28}"
    )
    cases = (
        # passes: forward 1, gradients of activations 1, of trained weights 1, recomputation 1
        ("llava15_7b/1_align", 558_128, 25, 3.0),
        ("llava15_7b/2_instruct", 665_298, 250, 4.0),
        ("llava15_7b_lora/instruct_lora", 665_298, 250, 3.0),
    )
    for recipe, samples, text_tokens, passes in cases:
        schedule, settings = schedule_of(recipe)
        devices, batch = settings["trainer"]["devices"], settings["data"]["init_args"]["batch_size"]
        steps = -(-samples // (devices * batch))
        probes = len({0, steps} | {step for step in range(1, steps + 1) if schedule.due(step)})
        length = LLAVA_7B["image_tokens"] + text_tokens
        training = devices * batch * length
        step = decoder_flops(training, length, size=LLAVA_7B, passes=passes)
        step += 2.0 * LLAVA_7B["vision"] * devices * batch * (LLAVA_7B["image_tokens"] + 1)
        n = settings["trainer"]["callbacks"][0]["init_args"]["tasks"][0]["settings"]["n"]
        one = probe_flops(n, n)
        share = probes * one / (steps * step)
        sharded = isinstance(settings["trainer"]["strategy"], dict)
        # With FSDP2 every GPU probes in lockstep, with DDP one does while the others wait: the same time either way
        waiting = share * devices
        yield (
            f"{recipe:32}{steps:7,}{probes:8}{step:12.2e}{one:12.2e}{share:16.2%}{waiting:20.2%}"
            + (" (in lockstep)" if sharded else "")
        )
    yield (
        "A probe: n pairs drawn from POPE give n images and n questions at most, crossed; one pass per image "
        f"({LLAVA_7B['image_tokens']} tokens and the prompt's head), then 40 tokens per pair. The last column assumes "
        "that a probe uses a GPU as well as training does."
    )


def probe_flops(images: int, questions: int, question_tokens: int = 40, head: int = 40) -> float:
    prefix = LLAVA_7B["image_tokens"] + head
    looked = 2.0 * LLAVA_7B["vision"] * images * (LLAVA_7B["image_tokens"] + 1)
    prefixes = decoder_flops(images * prefix, prefix, size=LLAVA_7B, passes=1)
    pairs = decoder_flops(images * questions * question_tokens, 2 * prefix, size=LLAVA_7B, passes=1)
    return looked + prefixes + pairs


def on_gpu(options: argparse.Namespace) -> Iterator[str]:
    """LLaVA-1.5-7B's shape with random weights, bf16 frozen weights, gradient checkpointing."""
    yield f"{torch.cuda.get_device_name()}, bf16, batch {options.gpu_batch} x {576 + options.text_tokens} tokens"
    cases = {
        "projector alone": (VisualInstructionTuning("random", projector=FULL, language_model=PartConfig()), 3.0),
        "LoRA r 128": (
            VisualInstructionTuning(
                "random", projector=FULL, language_model=PartConfig(tune="lora", lr=RATE), lora=LoraSettings()
            ),
            3.0,
        ),
    }
    for name, (stage, passes) in cases.items():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        stage.gradient_checkpointing = True
        stage.attach(random_7b())
        step, floor = gpu_step(stage, options, passes)
        peak = torch.cuda.max_memory_allocated() / 2**30
        yield (
            f"{name:18}{1e3 * step:10.0f} ms a step, {1e3 * floor:.0f} ms at {options.peak_tflops:.0f} TFLOP/s: "
            f"utilisation {floor / step:.1%}, {peak:.1f} GiB"
        )
        stage.network = stage.lvlm = None


def random_7b() -> LVLM:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    from fusionscope.lvlm import tiny

    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
        patch_size=14, projection_dim=768,
    )  # fmt: skip
    text = LlamaConfig(vocab_size=32064, hidden_size=4096, intermediate_size=11008, max_position_embeddings=4096)
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text))
    finally:
        torch.set_default_dtype(previous)
    return LVLM.wrap(model, tiny.build("llava")[1])


def gpu_step(stage: Any, options: argparse.Namespace, passes: float) -> tuple[float, float]:
    from fusionscope.stages.loss import summed_loss

    length = LLAVA_7B["image_tokens"] + options.text_tokens
    device, vision = stage.network.device, stage.network.config.vision_config
    ids = torch.randint(5, 250, (options.gpu_batch, length), device=device)
    ids[:, :576] = stage.network.config.image_token_index
    labels = ids.clone()
    labels[:, :576] = -100
    side = vision.image_size
    pixels = torch.randn(options.gpu_batch, 3, side, side, device=device, dtype=torch.bfloat16)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels, "labels": labels}
    optimizer = torch.optim.AdamW(stage.parameter_groups())
    for i in range(options.steps + 2):
        if i == 2:
            settle(device.type)
            begin = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16):
            loss, tokens = summed_loss(stage.network, batch)
        (loss / tokens).backward()
        optimizer.step()
        optimizer.zero_grad()
    settle(device.type)
    step = (time.perf_counter() - begin) / options.steps
    work = decoder_flops(options.gpu_batch * length, length, size=LLAVA_7B, passes=passes)
    work += 2.0 * LLAVA_7B["vision"] * options.gpu_batch * 577
    return step, work / (options.peak_tflops * 1e12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="directory or hub name of a LLaVA; one of random weights by default")
    parser.add_argument("--width", type=int, default=384, help="of the random one's language model")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=8, help="timed steps a round")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--flops", action="store_true", help="only count the recipe's operations")
    parser.add_argument("--gpu-batch", type=int, default=8)
    parser.add_argument("--text-tokens", type=int, default=128, help="of the GPU part's samples")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="of the GPU in bf16 (989: H100 SXM)")
    parser.add_argument("--out", type=Path, help="also write the lines here")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    disable_progress_bar()
    parts = [flops] if options.flops else [race, flops, *([on_gpu] if torch.cuda.is_available() else [])]
    said = [f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {options.device}"]
    print(said[0], flush=True)
    for part in parts:
        for line in part(options):
            said.append(line)
            print(line, flush=True)
    if not options.flops and not torch.cuda.is_available():
        print("no GPU: the 7B-shaped part was left out")
    if options.out:
        options.out.write_text("\n".join(said) + "\n")


if __name__ == "__main__":
    main()
