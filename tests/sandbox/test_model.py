import sys

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from fusionscope.lvlm import LVLM
from fusionscope.sandbox.model import N_IMAGE_TOKENS, build_model, build_processor, write
from fusionscope.sandbox.tokenizer import build_tokenizer, vocabulary
from fusionscope.sandbox.world import SHAPES, colour_question, render, scenes


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write(tmp_path_factory.mktemp("tiny"), seed=3)


def test_every_word_is_one_token_and_comes_back():
    tokenizer = build_tokenizer()
    text = " ".join(vocabulary()[4:])
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(set(ids)) == len(vocabulary()) - 4
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == text


def test_the_tokenizer_emits_no_token_type_ids():
    assert set(build_tokenizer()("user : scene", return_tensors="pt")) == {"input_ids", "attention_mask"}


def test_the_seed_decides_the_weights_and_the_global_random_state_stays():
    before = torch.get_rng_state()
    first, again, other = build_model(1), build_model(1), build_model(2)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)
    assert not torch.equal(
        first.model.multi_modal_projector.linear_1.weight, other.model.multi_modal_projector.linear_1.weight
    )


def test_model_and_processor_reload_from_their_directory(directory):
    model = AutoModelForImageTextToText.from_pretrained(directory)
    fresh = build_model(3).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in model.state_dict().items())
    processor = AutoProcessor.from_pretrained(directory)
    assert type(processor).__name__ == "LlavaProcessor"
    assert processor.tokenizer.get_vocab() == build_tokenizer().get_vocab()
    assert LVLM.from_pretrained(str(directory)).n_layers == 4


def test_the_chat_template_works_as_that_of_a_real_llava(directory):
    processor = AutoProcessor.from_pretrained(directory)
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": colour_question("circle")}]}
    prompt = processor.apply_chat_template([question], add_generation_prompt=True)
    assert prompt == f"user : scene <image> . {colour_question('circle')} assistant :"
    answer = {"role": "assistant", "content": [{"type": "text", "text": "C"}]}
    assert processor.apply_chat_template([question, answer]) == prompt + " C </s>"
    only_text = [{"role": "user", "content": "hint"}]
    assert processor.tokenizer.apply_chat_template(only_text, tokenize=False) == "user : hint "


def test_the_processor_needs_no_torchvision_and_makes_one_token_per_patch_and_class_token():
    processor = build_processor()
    picture = {"type": "image", "image": render(scenes()[5])}
    messages = [{"role": "user", "content": [picture, {"type": "text", "text": colour_question("circle")}]}]
    batch = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert "torchvision" not in sys.modules
    assert int((batch["input_ids"] == build_model(0).config.image_token_id).sum()) == N_IMAGE_TOKENS == 5
    assert batch["pixel_values"].shape == (1, 3, 32, 32)
    assert build_model(0)(**batch).logits.shape[:2] == batch["input_ids"].shape


def test_the_assistant_mask_covers_answer_and_end_sign():
    messages = [
        {"role": "user", "content": colour_question(SHAPES[0])},
        {"role": "assistant", "content": "B"},
    ]
    tokenizer = build_tokenizer()
    out = tokenizer.apply_chat_template(messages, return_assistant_tokens_mask=True, return_dict=True, tokenize=True)
    said = [i for i, mark in zip(out["input_ids"], out["assistant_masks"], strict=True) if mark]
    assert tokenizer.convert_ids_to_tokens(said) == ["B", "</s>"]
