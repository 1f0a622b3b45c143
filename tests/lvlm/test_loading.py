"""Processors as checkpoints keep them, and as their families use them."""

import json

import torch
from PIL import Image

from fusionscope.lvlm import LVLM, ComposedProcessor, load_processor, tiny
from fusionscope.lvlm.tiny import families
from fusionscope.probe import Execution


def test_internvl_cuts_tiles_as_its_processor_asks(tmp_path):
    """The image processor's own default is a single tile."""
    model, processor = tiny.build("internvl")
    picture = Image.linear_gradient("L").resize((64, 32)).convert("RGB")
    tiled = LVLM.wrap(model, processor).look([picture])[0]["embeddings"]
    processor.image_processor.crop_to_patches = False
    lvlm = LVLM.wrap(model, processor)
    assert torch.equal(lvlm.look([picture])[0]["embeddings"], tiled)
    processor.images_kwargs = {"crop_to_patches": False}
    assert len(lvlm.look([picture])[0]["embeddings"]) < len(tiled)


def test_a_template_in_a_processors_own_file_is_found(tmp_path):
    """Checkpoints of before 2025 have chat_template.json, which a tokenizer does not read."""
    processor = tiny.build("llava_onevision")[1]
    processor.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").rename(tmp_path / "aside")
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "é {{ messages }}"}), encoding="utf-8")
    found = load_processor(str(tmp_path))
    assert isinstance(found, ComposedProcessor)
    assert found.chat_template == "é {{ messages }}"
    found.chat_template = "another"
    (tmp_path / "aside").rename(tmp_path / "chat_template.jinja")
    assert load_processor(str(tmp_path)).chat_template == processor.chat_template


def test_the_processor_is_of_the_models_revision(monkeypatch, tmp_path):
    model, processor = tiny.build("llava")
    asked = {}

    def load(name, **settings):
        asked.update(settings)
        return processor

    monkeypatch.setattr("transformers.AutoModelForImageTextToText.from_pretrained", lambda *args, **kwargs: model)
    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", load)
    LVLM.from_pretrained("some/model", revision="abc", attn_implementation="eager", local_files_only=True)
    assert asked == {"revision": "abc", "local_files_only": True}


def test_a_window_that_mistral_tells_by_itself_counts(task, answers_of):
    """Its configuration names no kinds of layers; padding between prefix and question would take up room in it."""
    kind, processor = tiny.build("llava")
    words = processor.tokenizer
    config = type(kind.config)(
        vision_config=kind.config.vision_config, vision_feature_layer=-2,
        text_config=families._decoder("MistralConfig", words, sliding_window=8),
        image_token_index=words.convert_tokens_to_ids("<image>"), vision_feature_select_strategy="default",
    )  # fmt: skip
    torch.manual_seed(0)
    lvlm = LVLM.wrap(type(kind)(config).eval(), processor)
    alone = answers_of(lvlm, task, execution=Execution(share_prefix=False, batch_size=1))
    for side in ("left", "right"):
        torch.testing.assert_close(
            answers_of(lvlm, task, execution=Execution(padding_side=side)), alone, atol=1e-5, rtol=0
        )
    config.text_config.sliding_window = None
    assert not lvlm.adapter.slides
