"""Models that accelerate spreads or offloads, and weights that are quantized or kept in another dtype."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import dispatch_model
from accelerate.hooks import AlignDevicesHook, SequentialHook
from PIL import Image

from fusionscope.lvlm import LVLM, FeatureCache, miniature, weights_fingerprint
from fusionscope.lvlm.offload import execution_device, module_dtype


def offloaded(name, directory, seed=0):
    """A miniature whose parts are each kept on disk, as a device map that splits towers and decoders keeps them."""
    model, processor = miniature(name, seed)
    parts = {}

    def split(module, path):
        children = list(module.named_children())
        if not children or type(module).__name__ in model._no_split_modules:
            parts[path] = "disk"
        for child, inner in children if path not in parts else ():
            split(inner, f"{path}.{child}".lstrip("."))
        if path not in parts:
            parts.update((f"{path}.{own}".lstrip("."), "cpu") for own, _ in module.named_parameters(recurse=False))

    split(model, "")
    spread = dispatch_model(model, parts, main_device="cpu", offload_dir=str(directory), force_hooks=True)
    assert sum(value.is_meta for value in spread.parameters()) > 20
    return LVLM.wrap(spread, processor)


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "smolvlm"])
def test_a_spread_model_answers_as_a_whole_one(name, task, answers_of, tmp_path):
    whole = LVLM.wrap(*miniature(name))
    spread = offloaded(name, tmp_path)
    assert torch.equal(answers_of(spread, task), answers_of(whole, task))
    assert weights_fingerprint([spread.model]) == weights_fingerprint([whole.model]), "wherever the weights lie"


def test_a_lone_parameter_of_an_offloaded_model_is_found(task, answers_of, tmp_path):
    """LLaVA-NeXT's newline is no module's; it is there in a forward pass alone."""
    model, processor = miniature("llava_next")
    whole = answers_of(LVLM.wrap(*miniature("llava_next")), task)
    parts = {name: "disk" for name, _ in model.named_children()}
    spread = dispatch_model(model, parts, main_device="cpu", offload_dir=str(tmp_path), force_hooks=True)
    assert spread.model.image_newline.is_meta
    assert torch.equal(answers_of(LVLM.wrap(spread, processor), task), whole)


def test_other_weights_on_disk_are_other_weights(tmp_path):
    """Features of one offloaded tower must not be taken for those of another."""
    marks = {
        weights_fingerprint(offloaded("llava", tmp_path / str(seed), seed).adapter.vision_modules) for seed in (0, 1)
    }
    assert len(marks) == 2


def test_the_device_is_told_by_whichever_hook_knows_it():
    layer = torch.nn.Linear(2, 2)
    layer._hf_hook = SequentialHook(AlignDevicesHook(), AlignDevicesHook(execution_device="meta"))
    assert execution_device(torch.nn.Sequential(layer)) == torch.device("meta")


def test_quantized_weights_do_not_tell_the_dtype():
    layer = torch.nn.Linear(2, 2, dtype=torch.bfloat16)
    layer.weight = torch.nn.Parameter(layer.weight.detach().to(torch.float8_e4m3fn), requires_grad=False)
    assert module_dtype(layer) == torch.bfloat16
    assert module_dtype(torch.nn.Linear(2, 2, bias=False).requires_grad_(False)) == torch.float32


def test_instructblip_runs_in_half_precision(task, answers_of, tmp_path):
    """transformers keeps its queries in float32, and nothing else."""
    model, processor = miniature("instructblip")
    model.save_pretrained(tmp_path)
    half = LVLM.from_pretrained(str(tmp_path), dtype=torch.float16, processor=processor)
    assert {value.dtype for value in half.model.parameters()} == {torch.float16, torch.float32}
    full = answers_of(LVLM.wrap(model, processor), task)
    torch.testing.assert_close(answers_of(half, task), full, atol=1e-2, rtol=0)


def test_a_hash_of_large_weights_is_made_in_pieces(monkeypatch):
    model = miniature("llava")[0]
    whole = weights_fingerprint([model])
    monkeypatch.setattr("fusionscope.lvlm.fingerprint._PIECE", 7)
    assert weights_fingerprint([model.model.multi_modal_projector]) != whole
    small = torch.nn.Linear(5, 9)
    in_pieces = weights_fingerprint([small])
    monkeypatch.undo()
    assert weights_fingerprint([small]) == in_pieces


def test_features_of_an_adapter_switched_off_are_its_own():
    peft = pytest.importorskip("peft")
    model, processor = miniature("llava")
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    lvlm, cache, images = LVLM.wrap(adapted, processor), FeatureCache(), [Image.linear_gradient("L").convert("RGB")]
    lvlm.encode_images(images, ["a"], cache)
    with adapted.disable_adapter():
        found = lvlm.encode_images(images, ["a"], cache)[0]["embeddings"]
        assert cache.hits == 0
        assert torch.equal(found, lvlm.encode_images(images)[0]["embeddings"])


def test_a_model_over_two_devices_answers_as_on_one():
    """Every tensor that a probe makes itself goes where the module is that reads it (spread_run.py)."""
    cases = ("llava:tail", "qwen3_vl:head", "mllama:tail", "mllama:tower", "instructblip:tower", "paligemma:head")
    script = Path(__file__).with_name("spread_run.py")
    ran = subprocess.run([sys.executable, script, *cases], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found.keys() == set(cases)
    assert max(found.values()) < 1e-5, found
