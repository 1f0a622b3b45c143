"""Processors as checkpoints keep them, and as their families use them."""

import json

import torch
from transformers import MistralConfig

from fusionscope.lvlm import LVLM, ComposedProcessor, load_processor, miniature
from fusionscope.lvlm.miniatures import DECODER
from fusionscope.probe import Execution


def test_a_template_in_a_processors_own_file_is_found(tmp_path):
    """Checkpoints of before 2025 have chat_template.json, which a tokenizer does not read."""
    processor = miniature("llava_onevision")[1]
    processor.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").rename(tmp_path / "aside")
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "é {{ messages }}"}), encoding="utf-8")
    loaded = load_processor(str(tmp_path))
    assert isinstance(loaded, ComposedProcessor)
    assert loaded.chat_template == "é {{ messages }}"
    loaded.chat_template = "another"
    (tmp_path / "aside").rename(tmp_path / "chat_template.jinja")
    assert load_processor(str(tmp_path)).chat_template == processor.chat_template


def test_the_processor_is_of_the_models_revision(monkeypatch, tmp_path):
    model, processor = miniature("llava")
    asked = {}

    def load(name, **settings):
        asked.update(settings)
        return processor

    monkeypatch.setattr("transformers.AutoModelForImageTextToText.from_pretrained", lambda *args, **kwargs: model)
    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", load)
    LVLM.from_pretrained("some/model", revision="abc", attn_implementation="eager", local_files_only=True)
    assert asked == {"revision": "abc", "local_files_only": True}


def test_a_window_that_mistral_states_by_itself_counts(task, answers_of):
    """Its configuration names no kinds of layers; padding between prefix and question would take up room in it."""
    kind, processor = miniature("llava")
    words = processor.tokenizer
    config = type(kind.config)(
        vision_config=kind.config.vision_config,
        text_config=MistralConfig(vocab_size=len(words), sliding_window=8, **DECODER),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
    )
    torch.manual_seed(0)
    lvlm = LVLM.wrap(type(kind)(config).eval(), processor)
    alone = answers_of(lvlm, task, execution=Execution(share_prefix=False, batch_size=1))
    for side in ("left", "right"):
        torch.testing.assert_close(
            answers_of(lvlm, task, execution=Execution(padding_side=side)), alone, atol=1e-5, rtol=0
        )
    config.text_config.sliding_window = None
    assert not lvlm.adapter.slides
