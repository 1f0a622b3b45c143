"""Training data for every family with an adapter: their own processors, assistant text alone learnt, company harmless.

Images go the real way, see the fixture ``family_processor``.
"""

import pytest
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast

from fusionscope.data import Collator
from fusionscope.data.conversation import parse
from fusionscope.data.templates import render
from fusionscope.errors import ConfigError, DataError, MissingDependencyError
from fusionscope.lvlm import LVLM, tiny
from fusionscope.lvlm.adapter import known_model_types
from fusionscope.lvlm.processor import ComposedProcessor
from fusionscope.stages.loss import summed_loss
from fusionscope.stages.parts import parameters_by_part


def turns(*texts):
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def picture(colour, size=(32, 32)):
    return Image.new("RGB", size, colour)


def row(name, images, *texts):
    return {"id": name, "image": images or None, "conversations": turns(*texts)}


ROWS = [
    row("two turns", [picture((200, 9, 9), (64, 32))], "<image>\nwhat is it ?", "red", "sure ?", "yes"),
    row("text", [], "say yes", "yes"),
    row("two images", [picture((9, 200, 9), (64, 32)), picture((9, 9, 200))], "<image>\n<image>\nwhat ?", "green"),
    row("image in the second turn", [picture((9, 90, 90), (32, 64))], "say no", "no", "what ? <image>", "teal"),
]
CHATML, FIRST = ("", "<|im_end|>"), ("instructblip", "fuyu", "paligemma")
MARKS = {  # what an answer begins with and ends with
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "llava_onevision"), CHATML),
    **dict.fromkeys(("llava", "llava_next"), (" ", "")),
    **dict.fromkeys(("idefics3", "smolvlm"), (" ", "<end_of_utterance>")),
    "mllama": ("", "<|eot_id|>"),
    "gemma3": ("", "<end_of_turn>"),
    "paligemma": ("", "<pad>"),
    "fuyu": ("", "<pad>"),
    "instructblip": ("", "</s>"),
}


def said(one):
    return [turn["value"] for turn in one["conversations"] if turn["from"] == "gpt"]


@pytest.mark.filterwarnings("ignore:samples with:UserWarning")
@pytest.mark.parametrize("model_type", known_model_types())
def test_every_family_learns_assistant_text_alone_in_any_company(model_type, family_processor):
    model, whole = tiny.build(model_type)[0], family_processor(model_type)
    collate = Collator(whole, "chat", 4096)
    batch = collate(ROWS)
    learnt = [whole.tokenizer.decode(ids[ids != -100]) for ids in batch["labels"]]
    before, end = MARKS[model_type]
    assert learnt == ["".join(f"{before}{text}{end}" for text in said(one)) for one in ROWS]
    loss, tokens = summed_loss(model.train(), batch)
    loss.backward()
    assert (loss / tokens).isfinite()
    for part, parameters in parameters_by_part(model).items():
        gradients = [p.grad.abs().max().item() for p in parameters.values() if p.grad is not None]
        assert not parameters or 0 < max(gradients) < float("inf"), part
    # Mllama: only samples with as many images share a batch without harm, see the test of its warning
    company = [ROWS[0], ROWS[3]] if model_type == "mllama" else ROWS
    with torch.no_grad():
        together = torch.tensor(summed_loss(model.eval(), collate(company)))
        text_first = torch.tensor(summed_loss(model, collate(company[1:] + company[:1])))
        alone = torch.tensor([summed_loss(model, collate([one])) for one in company]).sum(0)
    assert text_first.tolist() == pytest.approx(together.tolist(), rel=1e-5)
    assert together[1] == alone[1]
    assert (together[0] / together[1]).item() == pytest.approx((alone[0] / alone[1]).item(), abs=1e-5)


@pytest.mark.parametrize("model_type", FIRST)
def test_where_pictures_come_first_tokens_are_those_of_a_probe(model_type, family_processor):
    """The probe's tokens follow the checkpoints' prompts; training adds the end of the answer."""
    model, whole = tiny.build(model_type)[0], family_processor(model_type)
    lvlm = LVLM.wrap(model, whole)
    image = picture((9, 90, 90), (32, 24))
    prompt = lvlm.prompt("what is it ?", ["yes", "no"])
    seen = lvlm.adapter.expand(lvlm.look([image])[0])
    expected = [token for one in prompt.ids for token in (seen if one == -1 else [one])]
    batch = Collator(whole)([row("a", [image], "<image>\nwhat is it ?", "yes")])
    answer = [*prompt.candidates[0], whole.tokenizer.eos_token_id]
    assert batch["input_ids"][0].tolist() == [*expected, *answer]
    assert batch["labels"][0].tolist() == [-100] * len(expected) + answer


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # in its own processor
def test_paligemma_sees_both_ways_up_to_the_first_answer(family_processor):
    whole = family_processor("paligemma")
    batch = Collator(whole)(ROWS)
    for ids, kinds, labels in zip(batch["input_ids"], batch["token_type_ids"], batch["labels"], strict=True):
        first = (labels != -100).nonzero().min()
        assert kinds.tolist() == [0] * first + [1] * (len(kinds) - first)
        assert whole.tokenizer.decode(ids[:first]).endswith("\n")
    theirs = whole(images=ROWS[0]["image"], text="<image>what ?", suffix="yes", return_tensors="pt")
    ours = Collator(whole)([row("a", ROWS[0]["image"], "<image>\nwhat ?", "yes")])
    for name in ("input_ids", "token_type_ids", "labels", "attention_mask", "pixel_values"):
        assert torch.equal(theirs[name], ours[name]), name


def test_gemma_sees_its_images_both_ways(family_processor):
    model, whole = tiny.build("gemma3")[0], family_processor("gemma3")
    batch = Collator(whole)(ROWS)
    assert torch.equal(batch["token_type_ids"] == 1, batch["input_ids"] == model.config.image_token_id)
    causal = {name: value for name, value in batch.items() if name != "token_type_ids"}
    assert abs(summed_loss(model, batch)[0] - summed_loss(model, causal)[0]) > 1e-3
    with pytest.raises(DataError, match="image tokens after position 20"):
        Collator(whole, max_length=20)([ROWS[3]])  # its placeholder stands before, its last token after


def test_fuyu_lays_patches_out_as_its_processor(family_processor):
    whole = family_processor("fuyu")
    image = picture((9, 90, 90), (40, 24))
    ours = Collator(whole)([row("a", [image], "<image>\nwhat ?", "yes")])
    assert ours["pixel_values"].shape == (5 * 3, 3 * 8 * 8)
    whole_picture = picture((9, 90, 90), (48, 32))
    whole_picture.paste((200, 9, 9), (8, 0, 48, 8))
    made = whole.image_processor(images=[whole_picture], return_tensors="np")["images"][0]
    theirs = whole.image_processor.patchify_image(made)
    seen = Collator(whole)([row("a", [whole_picture], "<image>\nwhat ?", "yes")])["pixel_values"]
    assert torch.equal(torch.as_tensor(theirs), seen)
    head = (ours["input_ids"] == whole.tokenizer.convert_tokens_to_ids("<s>")).nonzero()[0, 1] + 1
    shown = whole.replace_image_token({}, 0, num_patches=15, row_width=5)
    assert whole.tokenizer.decode(ours["input_ids"][0, :head]) == shown


def test_the_qformer_reads_the_question_and_not_the_answer(family_processor):
    whole = family_processor("instructblip")
    batch = Collator(whole)(ROWS)
    assert len(batch["qformer_input_ids"]) == len(batch["pixel_values"]) == 4
    read = whole.qformer_tokenizer.batch_decode(batch["qformer_input_ids"], skip_special_tokens=True)
    assert read == ["what is it ?", "what ?", "what ?", "say no"]
    texts = Collator(whole)([ROWS[1], ROWS[1]])  # with a black picture, which forward wants, and nothing to say to it
    assert len(texts["labels"]) == 3
    assert bool((texts["labels"][2] == -100).all())


def test_onevision_tiles_a_lone_image_and_not_several(family_processor):
    whole = family_processor("llava_onevision")
    batch = Collator(whole, "chat", 4096)(ROWS)
    tokens = (batch["input_ids"] == whole.image_token_id).sum(1).tolist()
    assert tokens[2] == 2 * (16 + 1)  # a view and its newline for each
    assert tokens[0] > 16 + 1
    assert batch["batch_num_images"].tolist() == [1, 0, 2, 1]


def test_mllama_says_when_company_changes_a_loss(family_processor):
    """Transformers lets a token before its sample's image attend to the row's pictures, empty ones too."""
    model, collate = tiny.build("mllama")[0], Collator(family_processor("mllama"))
    with pytest.warns(UserWarning, match=r"samples with \[0, 1\] images in one batch.*group_by_length"):
        batch = collate(ROWS[:2])
    assert batch["cross_attention_mask"][1].sum() == 0
    place = (batch["input_ids"][0] == collate.processor.image_token_id).nonzero().item()
    assert batch["cross_attention_mask"][0, :place].sum() == 0
    assert bool((batch["cross_attention_mask"][0, place:].sum((1, 2)) == 2).all())  # its two tiles
    with torch.no_grad():
        labels = batch["labels"].clone()
        labels[0] = -100
        among = summed_loss(model, {**batch, "labels": labels})[0]
        assert abs(among - summed_loss(model, collate(ROWS[1:2]))[0]) > 1e-4


@pytest.mark.parametrize("template", ["v1", "plain"])
@pytest.mark.parametrize("model_type", [*FIRST, "mllama", "gemma3"])
def test_other_templates_fit_too(model_type, template, family_processor):
    whole = family_processor(model_type)
    whole.tokenizer.eos_token = end = "<pad>"
    image = [picture((9, 90, 90))]
    batch = Collator(whole, template)([row("a", image, "<image>\nwhat ?", "red"), row("b", image, "<image>", "blue")])
    learnt = [whole.tokenizer.decode(ids[ids != -100]).strip() for ids in batch["labels"]]
    assert learnt == (["red", "blue"] if template == "plain" else [f"red{end}", f"blue{end}"])
    start = whole.tokenizer.convert_tokens_to_ids("<s>") if model_type == "fuyu" else whole.tokenizer.bos_token_id
    assert (batch["input_ids"] == start).sum(1).tolist() == [1, 1]


def test_parts_of_a_processor_are_not_enough():
    parts = tiny.build("internvl")[1]
    with pytest.raises(MissingDependencyError, match=r"(?s)ComposedProcessor.*torchvision"):
        Collator(parts)
    known = ComposedProcessor(tokenizer=parts.tokenizer, image_processor=parts.image_processor, reason="no num2words")
    with pytest.raises(MissingDependencyError, match=r"(?s)as a whole here.*: no num2words.*pip install"):
        Collator(known)


def test_what_a_processor_lacks_is_told_before_training(family_processor):
    whole = family_processor("instructblip")
    whole.num_query_tokens = None
    with pytest.raises(ConfigError, match=r"num_query_tokens=None"):
        Collator(whole)
    whole = family_processor("paligemma")
    whole.tokenizer.eos_token = None
    with pytest.raises(ConfigError, match=r"(?s)template='chat'.*no eos_token.*set it"):
        Collator(whole)
    whole = family_processor("fuyu")
    whole.tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny.tokenizer(["|SPEAKER|"])._tokenizer)
    with pytest.raises(ConfigError, match=r"no token '<s>'"):
        Collator(whole)
    whole = family_processor("qwen2_vl")
    whole.image_processor = tiny.build("llava")[1].image_processor
    with pytest.raises(ConfigError, match=r"(?s)Qwen2VLProcessor cannot prepare a sample.*AttributeError.*merge_size"):
        Collator(whole)
    whole.chat_template = whole.chat_template.replace("<|image_pad|>", "")
    with pytest.raises(DataError, match=r"1 images and 0 marks '<\|image_pad\|>'"):
        Collator(whole)


def test_a_mark_in_a_samples_words_is_refused_by_its_name(family_processor):
    with pytest.raises(DataError, match=r"(?s)'odd' has 1 images and 2 marks '<start_of_image>'.*out of the sample"):
        Collator(family_processor("gemma3"))([row("odd", [picture((0, 0, 0))], "<image>\na <start_of_image> ?", "yes")])


def test_onevisions_published_template_announces_an_answer_otherwise_than_it_writes_it(family_processor):
    whole = family_processor("llava_onevision")
    shown = render(parse(ROWS[0]), "chat", whole)
    assert "<|im_start|>assistant \nred" in shown.text
    assert [shown.text[a:b] for a, b in shown.spans] == ["red<|im_end|>", "yes<|im_end|>"]
