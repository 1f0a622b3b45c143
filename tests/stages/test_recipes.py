"""The recipes of real models parse through the real command line and build their models, offline and without memory.

Configurations are in fixtures/configs (see the README there), data is a handful of rows where the recipes look for it.
"""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText

from fusionscope.callbacks import PIDCallback, ScheduledCheckpoint
from fusionscope.cli.fit import FusionscopeCLI
from fusionscope.cli.recipes import known_recipes
from fusionscope.cli.signals import StopRequest
from fusionscope.data import Collator
from fusionscope.lvlm import LVLM, family_of, miniature, packed_rows
from fusionscope.stages import base

CONFIGS = Path(__file__).parent / "fixtures" / "configs"
LORA_7B = 128 * 32 * (4 * (4096 + 4096) + 3 * (4096 + 11008))
LORA_13B = 128 * 40 * (4 * (5120 + 5120) + 3 * (5120 + 13824))
LORA_QWEN = 8 * 28 * (2 * (3584 + 3584) + 2 * (3584 + 512) + 3 * (3584 + 18944))
LORA_SMOL = 8 * 24 * (4 * (2048 + 2048) + 3 * (2048 + 8192))
LORA_INTERN = 16 * 28 * (2 * (1536 + 1536) + 2 * (1536 + 256) + 3 * (1536 + 8960))
# recipe: (all parameters as published, what is trained, global batch)
REAL = {
    "llava15_7b/1_align": (7_063_427_072, {"projector": 20_979_712}, 256),
    "llava15_7b/2_instruct": (7_063_427_072, {"projector": 20_979_712, "language_model": 6_738_939_904}, 128),
    "llava15_7b_lora/instruct_lora": (7_063_427_072, {"projector": 20_979_712, "language_model": LORA_7B}, 128),
    "llava15_13b/1_align": (13_351_494_656, {"projector": 31_467_520}, 256),
    "llava15_13b/2_instruct": (13_351_494_656, {"projector": 31_467_520, "language_model": 13_016_519_680}, 128),
    "llava15_13b_lora/instruct_lora": (13_351_494_656, {"projector": 31_467_520, "language_model": LORA_13B}, 128),
    "qwen25_vl_7b/lora_pid": (8_292_166_656, {"language_model": LORA_QWEN}, 16),
    "smolvlm/lora_pid": (2_246_272_880, {"language_model": LORA_SMOL}, 16),
    "internvl3_2b/lora_pid": (2_088_957_440, {"language_model": LORA_INTERN}, 16),
}


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    """What the recipes' comments ask for, in miniature."""
    images = tmp_path / "data" / "coco" / "val2014"
    images.mkdir(parents=True)
    rows = []
    for i in range(8):
        Image.new("RGB", (8, 8), (30 * i, 9, 9)).save(images / f"{i}.jpg")
        rows += [
            {"question_id": len(rows), "image": f"{i}.jpg", "text": f"Is there a {name} in the image?", "label": "yes"}
            for name in ("car", "cat", "dog", "cup", "bus", "hat", "man")
        ]
    (tmp_path / "data" / "pope").mkdir()
    (tmp_path / "data" / "pope" / "coco_pope_random.json").write_text("\n".join(json.dumps(row) for row in rows))
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Red."}]
    row = {"id": "0", "image": "0.jpg", "conversations": turns}
    for name in ("llava_pretrain/blip_laion_cc_sbu_558k", "llava_finetune/llava_v1_5_mix665k", "finetune/train"):
        path = tmp_path / "data" / f"{name}.json"
        (path.parent / "images").mkdir(parents=True)
        path.write_text(json.dumps([row]))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "arrow")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def meta(recipe: str) -> LVLM:
    """The model of a recipe, as its published configuration says, without weights."""
    settings = json.loads((CONFIGS / f"{recipe.partition('/')[0].removesuffix('_lora')}.json").read_text())
    kind = settings.pop("model_type")
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(kind, **settings))
    return LVLM.wrap(model, miniature(kind)[1])


def parsed(name: str, *arguments: str) -> FusionscopeCLI:
    given = ["--config", str(known_recipes()[name]), *arguments]
    settings = {"run": False, "args": given, "save_config_callback": None, "seed_everything_default": 0}
    return FusionscopeCLI(StopRequest(), ExitStack(), **settings)


def test_all_recipes_of_real_models_are_here():
    others = ("sandbox/", "easy_vqa/", "profile/")
    assert {name for name in known_recipes() if not name.startswith(others)} == set(REAL)


@pytest.mark.parametrize("name", REAL)
def test_a_recipe_parses_and_builds_its_model(name, data_folder, monkeypatch):
    published, trained, global_batch = REAL[name]
    devices = 8 if name.startswith("llava15") else 1
    cli = parsed(name, "--trainer.accelerator=cpu", "--trainer.devices=1")
    assert f"\n  devices: {devices} " in known_recipes()[name].read_text()
    assert cli.datamodule.batch_size * devices * cli.trainer.accumulate_grad_batches == global_batch

    (probe,) = [one for one in cli.trainer.callbacks if isinstance(one, PIDCallback)]
    (saver,) = [one for one in cli.trainer.callbacks if isinstance(one, ScheduledCheckpoint)]
    assert [step for step in range(17) if probe.schedule.due(step)] == [1, 2, 4, 8, 16]
    assert probe.schedule.at_start
    assert all(probe.schedule.due(step) for step in range(1, 5199) if saver.schedule.due(step))
    (task,) = probe.monitor.tasks
    assert len(task.pairs) == 8 * 7  # n counts images, of which there are 8 here, each with its questions

    monkeypatch.setattr(base, "load", lambda *arguments, **settings: meta(name))
    cli.model.configure_model()
    adapters = sum(p.numel() for key, p in cli.model.network.named_parameters() if ".lora_" in key)
    assert sum(p.numel() for p in cli.model.network.parameters()) - adapters == published
    assert not packed_rows(cli.model.lvlm.adapter).one_row  # it can pack
    groups = {group["name"].removesuffix("_vectors"): 0 for group in cli.model.parameter_groups()}
    for group in cli.model.parameter_groups():
        groups[group["name"].removesuffix("_vectors")] += sum(p.numel() for p in group["params"])
    assert groups == trained


@pytest.mark.parametrize("name", [name for name in REAL if name.startswith("llava15")])
def test_llavas_hyper_parameters_are_the_published_ones(name, data_folder):
    cli = parsed(name, "--trainer.accelerator=cpu", "--trainer.devices=1")
    stage, data = cli.model, cli.datamodule
    lora, align = "lora" in name, "align" in name
    rate = 1e-3 if align else 2e-5
    assert stage.parts["projector"].lr == rate
    assert stage.parts["language_model"].lr == (None if align else 2e-4 if lora else 2e-5)
    assert (stage.warmup_ratio, stage.weight_decay, stage.betas, stage.min_lr_ratio) == (0.03, 0.0, (0.9, 0.999), 0.0)
    assert (cli.trainer.max_epochs, cli.trainer.gradient_clip_val, cli.trainer.precision) == (1, 1.0, "bf16-mixed")
    assert (data.template, data.pad_to_square, data.group_by_length, data.max_length) == (
        ("plain", False, False, 2048) if align else ("v1", True, True, 2048)
    )
    if lora:
        assert (stage.lora.rank, stage.lora.alpha, stage.lora.dropout) == (128, 256, 0.05)
    processor = miniature("llava")[1]
    processor.tokenizer.eos_token = "</s>"
    collate = Collator(processor, data.template, data.max_length, data.pad_to_square, family=family_of("llava"))
    labels = collate([shown(data_folder)])["labels"][0]
    learnt = labels[labels != -100]
    assert processor.tokenizer.decode(learnt).strip() == ("Red." if align else "Red.</s>")


def shown(folder):
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Red."}]
    return {"id": "0", "image": Image.open(folder / "data/coco/val2014/0.jpg"), "conversations": turns}
