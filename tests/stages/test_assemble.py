"""The model that the first stage of LLaVA starts from, put together from a language model and a vision tower."""

import subprocess
import sys
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from fusionscope.data import Collator
from fusionscope.lvlm import LVLM
from fusionscope.lvlm.miniatures import tokenizer

TOOL = Path(__file__).parents[2] / "tools" / "assemble_llava.py"


def test_parts_become_a_llava_that_can_be_trained(tmp_path, toy):
    words = tokenizer(["<s>", "</s>"], bos="<s>")
    words.eos_token = "</s>"
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(words), **shape)).save_pretrained(tmp_path / "language")
    words.save_pretrained(tmp_path / "language")
    CLIPVisionModel(CLIPVisionConfig(image_size=32, patch_size=8, **shape)).save_pretrained(tmp_path / "vision")
    sides = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=sides).save_pretrained(tmp_path / "vision")

    command = [sys.executable, str(TOOL), *(str(tmp_path / name) for name in ("language", "vision", "llava"))]
    subprocess.run([*command, "--dtype", "float32"], check=True, capture_output=True)
    lvlm = LVLM.from_pretrained(str(tmp_path / "llava"))
    model, language = lvlm.model, AutoModelForCausalLM.from_pretrained(tmp_path / "language")
    kept = model.get_input_embeddings().weight[: len(words)]
    assert torch.equal(kept, language.get_input_embeddings().weight)
    assert model.get_input_embeddings().weight.shape[0] % 64 == 0
    assert all(p.isfinite().all() for p in model.parameters())
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "llava").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())
    for template in ("plain", "v1", "chat"):
        batch = Collator(lvlm.processor, template, family=lvlm.family)([toy()[0]])
        assert int((batch["input_ids"] == model.config.image_token_index).sum()) == 16
        assert model(**batch).loss.isfinite()
