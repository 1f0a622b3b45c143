"""LLaVA-1.5-7B's shape with random weights on one GPU: step time, utilisation, memory, and the distance to the floor.

The step is the stage's own, run by Lightning: bf16 frozen weights, float32 trained ones, gradient checkpointing, AdamW.

The floor is what no implementation of the same arithmetic goes below on this GPU, the greater of two times:

* operations / peak: 2 per weight and token for the forward pass, 2 for recomputing it, 2 for gradients of activations,
  2 for those of trained weights; attention over half of the pairs (it is causal); the output head on supervised tokens
  alone; the vision tower forward. Embeddings cost none.
* bytes / bandwidth: every pass reads each weight once; each trained weight's gradient is written and read, its value
  and AdamW's two moments are read and written, in float32; the inputs of the layers are written and read once.

Model FLOPs utilisation counts no recomputation, hardware utilisation does.
The memory floor: weights as stored, gradient and moments of the trained ones, the inputs of the layers, and one layer's
activations while it is recomputed are left out, so that it is a lower bound.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from fusionscope.lvlm import LVLM, miniature
from fusionscope.stages import LoraSettings, PartConfig, VisualInstructionTuning

RATE = 1e-4
WARM = 2


@dataclass(frozen=True, kw_only=True)
class Work:
    """Operations and bytes of one optimizer step.

    Args:
        model: Operations without recomputation.
        hardware: Operations with it.
        moved: Bytes that cross the memory's interface at least.
        held: Bytes that stay in memory at least.
    """

    model: float
    hardware: float
    moved: float
    held: float


def seven_b(options: argparse.Namespace) -> Iterator[str]:
    """One line for projector alone and LoRA each; nothing is run where the shape asks for a GPU that isn't there."""
    if options.shape == "7b" and not torch.cuda.is_available():
        yield "no GPU: the 7B-shaped part was left out (--shape tiny tries its logic)"
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU, a miniature: its logic alone, no measurement"
    yield f"{options.shape} shape, {name}, bf16-mixed, batch {options.gpu_batch}, {options.text_tokens} text tokens"
    yield f"floor at {options.peak_tflops:g} TFLOP/s and {options.peak_bandwidth:g} TB/s"
    projector = PartConfig(tune="full", lr=RATE)
    for name, language, lora in (
        ("projector alone", PartConfig(), LoraSettings()),
        ("LoRA r 128", PartConfig(tune="lora", lr=RATE), LoraSettings()),
    ):
        stage = VisualInstructionTuning(
            "random", projector=projector, language_model=language, lora=lora, gradient_checkpointing=True
        )
        stage.attach(random_model(options.shape, device))
        yield from _case(name, stage, options, device)
        del stage
        if device == "cuda":
            torch.cuda.empty_cache()


def _case(name: str, stage: Any, options: argparse.Namespace, device: str) -> Iterator[str]:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step = measure(stage, options, device)
    work = floor(stage.network, options.gpu_batch, options.text_tokens)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else float("nan")
    rate, width = options.peak_tflops * 1e12, options.peak_bandwidth * 1e12
    by_flops, by_bytes = work.hardware / rate, work.moved / width
    tokens = options.gpu_batch * (image_tokens(stage.network) + options.text_tokens)
    yield (
        f"{name:16} {1e3 * step:8.1f} ms a step, {tokens / step:,.0f} tokens/s; floor {1e3 * by_flops:.1f} ms by "
        f"operations, {1e3 * by_bytes:.1f} ms by bytes: {step / max(by_flops, by_bytes):.2f} times the floor"
    )
    yield (
        f"{'':16} utilisation: model {work.model / rate / step:.1%}, hardware {by_flops / step:.1%}; memory "
        f"{peak / 2**30:.1f} GiB, floor {work.held / 2**30:.1f} GiB"
    )


class _Clock(L.Callback):
    """Mean time of a step after the first few."""

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if batch_idx == WARM - 1:
            self.begin = time.perf_counter()
        elif batch_idx >= WARM:
            self.mean = (time.perf_counter() - self.begin) / (batch_idx - WARM + 1)


def measure(stage: Any, options: argparse.Namespace, device: str) -> float:
    """Seconds of an optimizer step of the stage."""
    batches = [random_batch(stage.network, options.gpu_batch, options.text_tokens)] * (options.steps + WARM)
    clock = _Clock()
    trainer = L.Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    trainer.fit(stage, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    return clock.mean


def random_model(shape: str, device: str) -> LVLM:
    """LLaVA-1.5-7B from its configuration with random bf16 weights; ``tiny`` has its parts and few of everything."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision, text = (
        (
            dict(
                hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336
            ),
            dict(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32),
        )
        if shape == "7b"
        else (
            dict(hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, image_size=56),
            dict(hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4),
        )
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(patch_size=14, projection_dim=768, **vision),
        text_config=LlamaConfig(vocab_size=32064, max_position_embeddings=4096, **text),
        image_token_index=32000,
    )
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(previous)
    return LVLM.wrap(model, miniature("llava")[1])


def image_tokens(network: Any) -> int:
    """Patches of an image."""
    vision = network.config.vision_config
    return (vision.image_size // vision.patch_size) ** 2


def random_batch(network: Any, batch: int, text_tokens: int) -> dict[str, torch.Tensor]:
    """Samples of one image and some text, of which all is supervised."""
    side, patches = network.config.vision_config.image_size, image_tokens(network)
    ids = torch.randint(5, 32000, (batch, patches + text_tokens))
    ids[:, :patches] = network.config.image_token_index
    labels = ids.clone()
    labels[:, :patches] = -100
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.randn(batch, 3, side, side),
        "labels": labels,
    }


def floor(network: Any, batch: int, text_tokens: int) -> Work:
    """The least that a step of these weights does, in operations and in bytes."""
    text = network.config.text_config
    layers, width = text.num_hidden_layers, text.hidden_size
    length = image_tokens(network) + text_tokens
    parts = {"decoder": 0, "projector": 0, "vision": 0, "head": 0, "adapters": 0}
    stored, trained = 0, 0
    for name, parameter in network.named_parameters():
        stored += parameter.numel() * parameter.element_size()
        trained += parameter.numel() * parameter.requires_grad
        if "embed_tokens" not in name:
            parts[_part(name)] += parameter.numel()
    tokens, seen, said = batch * length, batch * image_tokens(network), batch * text_tokens
    attention = 2.0 * layers * width * length * tokens
    forward = 2.0 * (parts["decoder"] + parts["adapters"]) * tokens + attention
    once = 2.0 * parts["vision"] * batch * (image_tokens(network) + 1)
    ends = 2.0 * (2 * parts["head"] * said + 3 * parts["projector"] * seen)
    model = 2 * forward + 2.0 * parts["adapters"] * tokens + once + ends
    inputs = 2.0 * layers * width * tokens  # bf16
    passes = 3.0 * (stored - 4.0 * trained) + 4.0 * trained * (3 + 2 + 6)
    return Work(
        model=model,
        hardware=model + forward,
        moved=passes - 2.0 * 2 * parts["vision"] + 2 * inputs,  # the vision tower runs forward alone
        held=stored + 12.0 * trained + inputs,
    )


def _part(name: str) -> str:
    for word, part in (("lora_", "adapters"), ("vision_tower", "vision"), ("projector", "projector")):
        if word in name:
            return part
    return "head" if "lm_head" in name else "decoder"
