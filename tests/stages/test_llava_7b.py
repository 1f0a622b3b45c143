"""LLaVA-1.5-7B, built without memory: what each stage of the published recipe trains, how much, and how fast.

The numbers for the parts are those of the published model: projector 20,979,712; language model 6,607,605,760 and its
head 131,334,144. `llava_7b.json` holds the snapshot; after an intended change print it anew with
``python tests/stages/test_llava_7b.py``.
"""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from fusionscope.lvlm import LVLM
from fusionscope.sandbox.model import build_processor
from fusionscope.stages import AlignmentPretraining, PartConfig, VisualInstructionTuning

SNAPSHOT = Path(__file__).parent / "fixtures" / "llava_7b.json"
STAGES = {
    "align": lambda: AlignmentPretraining("llava"),
    "instruct": lambda: VisualInstructionTuning("llava"),
    "instruct_lora": lambda: VisualInstructionTuning("llava", language_model=PartConfig(tune="lora", lr=2e-4)),
}


def built(kind: str):
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    )
    text = LlamaConfig(vocab_size=32064, hidden_size=4096, intermediate_size=11008, max_position_embeddings=4096)
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text))
        stage = STAGES[kind]()
        stage.attach(LVLM.wrap(model, build_processor()))
    return stage


def summary(stage) -> dict:
    """Per group: learning rate, parameters, and the names of its tensors with layer numbers as N, counted."""
    named = {id(p): name for name, p in stage.network.named_parameters()}
    groups = {}
    for group in stage.parameter_groups():
        names = Counter(re.sub(r"\.\d+\.", ".N.", named[id(p)], count=1) for p in group["params"])
        groups[group["name"]] = {
            "lr": group["lr"],
            "parameters": sum(p.numel() for p in group["params"]),
            "names": dict(sorted(names.items())),
        }
    return groups


@pytest.mark.parametrize("kind", STAGES)
def test_what_each_stage_trains(kind):
    stage = built(kind)
    found = summary(stage)
    assert found == json.loads(SNAPSHOT.read_text())[kind]
    assert found["projector"]["parameters"] == 20_979_712
    if kind == "instruct":
        assert found["language_model"]["parameters"] == 6_607_605_760 + 131_334_144
    if kind == "instruct_lora":
        assert not any("lm_head" in name or "vision" in name for name in found["language_model"]["names"])
        rank, layers = 128, 32
        attention, mlp = 4 * (4096 + 4096), 3 * (4096 + 11008)
        assert found["language_model"]["parameters"] == rank * layers * (attention + mlp)


if __name__ == "__main__":
    print(json.dumps({kind: summary(built(kind)) for kind in STAGES}, indent=1))
