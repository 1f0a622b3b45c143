"""Floating point operations of the recipes of llava15_7b, training and probes, from the sizes alone; runs no model.

Operations are counted as 2 N per token forward, 2 N more for gradients of activations, 2 N more for those of trained
weights, and 2 N where layers are recomputed (gradient checkpointing), N being the decoder's parameters; attention adds
4 L D per pair of tokens, which at these lengths is a few per cent, and is counted.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from fusionscope.callbacks.schedule import Schedule


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
