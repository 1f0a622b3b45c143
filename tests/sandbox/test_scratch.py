"""A tiny LLaVA from nothing, as easy-VQA's recipe builds it."""

import re
from pathlib import Path

import torch
import yaml

from fusionscope.data import Collator
from fusionscope.data.easy_vqa import EasyVqa, EasyVqaCaptions
from fusionscope.sandbox import ScratchAlignment

RECIPE = Path(__file__).parents[2] / "recipes" / "easy_vqa" / "1_align.yaml"


def settings():
    return yaml.safe_load(RECIPE.read_text())["model"]["init_args"]


def test_the_recipes_vocabulary_is_that_of_the_data():
    data, captions = EasyVqa("train"), EasyVqaCaptions("train")
    texts = {text for question, answer, _ in data.rows for text in (question, answer)}
    texts |= {caption for _, caption in captions.captions} | {captions.PROMPT}
    words = {word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)}
    assert words == set(settings()["vocabulary"])


def test_it_builds_the_same_model_from_the_same_seed_and_trains_every_part():
    given = {key: settings()[key] for key in ("vocabulary", "image_size", "patch_size")}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, two = ScratchAlignment(**given, seed=1), ScratchAlignment(**given, seed=1)
    for stage in (one, two):
        stage.configure_model()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    batch = Collator(one.lvlm.processor, family=one.lvlm.family)([EasyVqaCaptions("train")[i] for i in range(4)])
    assert int((batch["input_ids"] == one.network.config.image_token_id).sum()) == 4 * 37
    assert one.lvlm.processor.tokenizer.unk_token_id not in batch["input_ids"]
    one.training_step(batch, 0).backward()
    last = one.network.config.vision_config.num_hidden_layers - 1  # features are read before it
    unread = re.compile(rf"post_layernorm|vision_tower.*\.layers\.{last}\.")
    without = [n for n, p in one.network.named_parameters() if p.grad is None and not unread.search(n)]
    assert without == []
