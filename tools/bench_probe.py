"""Our probe against a faithful implementation of the paper's way, on one model and one task.

    python tools/bench_probe.py [--model NAME] [--images 32] [--questions 32] [--timed 64] [--device cpu]

The paper's way (arXiv 2603.29676): one sample at a time, three ``generate`` calls (as it is, image tokens replaced by
noise, question tokens replaced by noise), embeddings edited outside of the model with a round trip over the CPU,
options read from the scores of the first generated token. Ours: the crossed design, one prefix cache per image.

Each side runs in a process of its own, so that its peak memory is its own. The paper's side is timed on ``--timed``
samples and scaled to the number of pairs, since all its samples cost the same. "Equal error" compares standard errors
of I(X1, X2; Y) alone: the paper's from pairs drawn independently, ours over images and questions that many pairs
share. It says nothing of the error of masking itself, which no number of samples removes (tools/design_error.py).
Without ``--model`` the model is a LLaVA of random weights with 576 image tokens. Prints a table; ``--out`` writes JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fusionscope.lvlm import LVLM, miniature
from fusionscope.probe import ProbeSpec, probe
from fusionscope.probe.designs.noise import moments, seed_of
from fusionscope.probe.engine.runner import expanded
from fusionscope.tasks import HeldOutTask, Question, uniform_weights

OPTIONS = ("A", "B", "C", "D")


class Noise:
    """Random images."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Image.Image:
        if not 0 <= i < self.n:
            raise IndexError(i)
        return Image.fromarray(np.random.default_rng(i).integers(0, 255, (336, 336, 3), dtype=np.uint8))


def make_task(n_images: int, n_questions: int) -> HeldOutTask:
    questions = [
        Question(text=f"Object {b:02d}: which? A. red B. green C. blue D. grey", candidates=OPTIONS)
        for b in range(n_questions)
    ]
    pairs = torch.cartesian_prod(torch.arange(n_images), torch.arange(n_questions))
    return HeldOutTask(
        name="bench",
        images=Noise(n_images),
        image_ids=[str(i) for i in range(n_images)],
        questions=questions,
        answers=OPTIONS,
        pairs=pairs,
        pair_answers=torch.zeros(len(pairs), dtype=torch.long),
        crossable=True,
        pair_weights={"uniform": uniform_weights(n_images, n_questions)},
    )


def load_model(name: str | None, device: str) -> LVLM:
    if name:
        return LVLM.from_pretrained(name, device_map=None if device == "cpu" else device)
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = miniature("llava")[1]
    processor.image_processor = CLIPImageProcessorPil()
    processor.image_processor.size = {"shortest_edge": 336}
    processor.image_processor.crop_size = {"height": 336, "width": 336}
    torch.manual_seed(0)
    words = processor.tokenizer
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=336,
            patch_size=14,
        ),
        text_config=LlamaConfig(
            vocab_size=len(words),
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=4,
            num_attention_heads=4,
            initializer_range=0.1,
        ),
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    return LVLM.wrap(LlavaForConditionalGeneration(config).eval().to(device), processor)


def ours(lvlm: LVLM, task: HeldOutTask) -> dict[str, float]:
    result = probe(lvlm, task, ProbeSpec(layers="last"))[0]
    error = float(result.pid.standard_errors.get("total", torch.tensor(float("nan"))))
    return {"seconds": result.seconds, "tokens": result.tokens, "error": error}


@torch.no_grad()
def papers(lvlm: LVLM, task: HeldOutTask, timed: int) -> dict[str, float]:
    """Batch 1, three generate calls, embeddings edited on the CPU."""
    model, adapter = lvlm.model, lvlm.adapter
    device = adapter.device
    table = adapter.embedding
    prompts = [lvlm.prompt(question.text, question.candidates) for question in task.questions]
    spans = [adapter.chat.span(question.text, question.text) for question in task.questions]
    features = lvlm.encode_images(task.images)
    images = moments(image["embeddings"] for image in features)
    words = moments(table(torch.tensor([i for i in p.ids if i >= 0], device=device)) for p in prompts)
    answers, tokens = [], 0
    order = torch.randperm(len(task.pairs), generator=torch.Generator().manual_seed(0))[:timed]
    start = time.perf_counter()
    for n in order.tolist():
        a, b = task.pairs[n].tolist()
        ids = torch.tensor([expanded(prompts[b].ids, adapter.expand(features[a]))])
        here = (ids == adapter.image_token_id)[0]
        pixels = adapter.process([task.images[a]])
        encoded = adapter.project(adapter.encode_images(pixels))[0]["embeddings"].cpu()
        clean = table(ids.to(device))[0].cpu()
        clean[here] = encoded.to(clean)
        shift = int(here.sum()) - 1
        question = slice(spans[b][0] + shift, spans[b][1] + shift)
        for mask in ("none", "image", "question"):
            embeds = clean.clone()
            if mask == "image":
                embeds[here] = images.draw(embeds[here], seed_of(n, 0), 1.0)
            if mask == "question":
                embeds[question] = words.draw(embeds[question], seed_of(n, 1), 1.0)
            embeds = embeds[None].to(device)
            out = model.generate(
                inputs_embeds=embeds,
                attention_mask=torch.ones(embeds.shape[:2], device=device, dtype=torch.long),
                max_new_tokens=1,
                do_sample=False,
                output_scores=True,
                return_dict_in_generate=True,
                pad_token_id=0,
            )
            chosen = out.scores[0][0, [tail[0] for tail in prompts[b].candidates]].float().softmax(-1).cpu()
            tokens += embeds.shape[1]
            if mask == "none":
                answers.append(chosen.double())
    seconds = time.perf_counter() - start
    p = torch.stack(answers)
    information = (p * (p / p.mean(0)).log2()).sum(-1)
    scale = len(task.pairs) / len(order)
    return {
        "seconds": seconds * scale,
        "tokens": tokens * scale,
        "error": float(information.std() / len(task.pairs) ** 0.5),
    }


def measure(side: str, options: argparse.Namespace) -> dict[str, float]:
    lvlm = load_model(options.model, options.device)
    task = make_task(options.images, options.questions)
    cuda = options.device.startswith("cuda")
    lvlm.encode_images([task.images[0]])
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = ours(lvlm, task) if side == "ours" else papers(lvlm, task, options.timed)
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found | {"peak_bytes": peak - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a name or directory; a random LLaVA by default")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--timed", type=int, default=64, help="samples of the paper's side that are really run (64)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    parser.add_argument("--side", choices=("ours", "paper"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options)))
        return
    rows = {}
    for side in ("ours", "paper"):
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--side", side], check=True, capture_output=True, text=True
        )
        rows[side] = json.loads(done.stdout.strip().splitlines()[-1])
    report(rows, options)


def report(rows: dict[str, dict[str, float]], options: argparse.Namespace) -> None:
    ours_, paper = rows["ours"], rows["paper"]
    ratio = {name: paper[name] / ours_[name] for name in ("tokens", "seconds")}
    more = (paper["error"] / ours_["error"]) ** 2
    cuda = options.device.startswith("cuda")
    device = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} thread(s)"
    model = options.model or "random LLaVA, 576 image tokens"
    lines = {
        "tokens": (ours_["tokens"], paper["tokens"], ratio["tokens"]),
        "seconds": (ours_["seconds"], paper["seconds"], ratio["seconds"]),
        "peak memory, MiB": (ours_["peak_bytes"] / 2**20, paper["peak_bytes"] / 2**20, float("nan")),
        "standard error of I": (ours_["error"], paper["error"], float("nan")),
        "seconds, equal error": (ours_["seconds"], paper["seconds"] * more, ratio["seconds"] * more),
    }
    print(f"{options.images} images x {options.questions} questions, {model}, {device}")
    print(f"{'':22}{'crossed (ours)':>16}{'paper way':>16}{'ratio':>9}")
    for name, (a, b, times) in lines.items():
        print(f"{name:22}{a:16,.4g}{b:16,.4g}" + (f"{times:9.1f}" if times == times else ""))
    if options.out:
        options.out.write_text(json.dumps(rows | {"ratio": ratio, "device": device}, indent=1) + "\n")


if __name__ == "__main__":
    main()
