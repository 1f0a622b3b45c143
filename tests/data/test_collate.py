"""Labels cover what the assistant says, to the character, whatever the tokenizer."""

import pytest
import torch
from PIL import Image

from fusionscope.data import Collator
from fusionscope.data.collate import IGNORE, square
from fusionscope.data.marked import Filling, Marked
from fusionscope.data.templates import V1_SYSTEM
from fusionscope.errors import BadImageError, ConfigError, DataError
from fusionscope.lvlm import family_of

LLAVA = family_of("llava")


def row(*values, image=None, name="a"):
    turns = [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]
    return {"id": name, "image": image, "conversations": turns}


def supervised_text(processor, batch, i=0):
    """What the labels of a sample say, and how many tokens they are."""
    ids = batch["labels"][i][batch["labels"][i] != IGNORE]
    return processor.tokenizer.decode(ids, skip_special_tokens=False).replace("▁", " ").strip()


ROW = ("<image>\nIs the cat black?", "yes", "What is this?", "Grüße, 你好 🙂")


def test_v1_supervises_answers_and_end_signs(processor, picture):
    batch = Collator(processor, "v1", family=LLAVA)([row(*ROW, image=picture)])
    said = supervised_text(processor, batch).replace(" ", "")
    assert said == "yes</s>Grüße,你好🙂</s>"
    whole = processor.tokenizer.decode(batch["input_ids"][0]).replace("▁", " ")
    assert "".join(V1_SYSTEM.split()) in "".join(whole.split())
    assert int((batch["input_ids"] == processor.image_token_id).sum()) == 4
    assert batch["pixel_values"].shape == (1, 3, 28, 28)


def test_v1_text_is_the_published_one(processor, picture):
    from fusionscope.data.conversation import parse
    from fusionscope.data.templates import render

    conversation = parse(row("What is this? <image>", "A cat.", "Is it?", "no", image=picture))
    shown = render(conversation, "v1", processor, LLAVA.prompt)
    assert shown.text == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. USER: <image>\nWhat is this? ASSISTANT: A cat.</s>"
        "USER: Is it? ASSISTANT: no</s>"
    )
    assert [shown.text[a:b] for a, b in shown.spans] == ["A cat.</s>", "no</s>"]


def test_plain_is_image_caption_newline_without_the_users_words(processor, picture):
    batch = Collator(processor, "plain", family=LLAVA)([row("Describe it.\n<image>", "A cat.", image=picture)])
    text = processor.tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True)
    assert "Describe" not in text
    assert supervised_text(processor, batch) == "A cat."
    supervised = batch["labels"][0] != IGNORE
    assert supervised.nonzero().min() > (batch["input_ids"][0] == processor.image_token_id).nonzero().max()
    assert supervised[-1]  # the newline


def test_chat_marks_come_from_the_template_itself(processor, picture):
    batch = Collator(processor, "chat", family=LLAVA)(
        [row(*ROW, image=picture), row("What is this?", "A cat.", name="b")]
    )
    assert supervised_text(processor, batch).replace(" ", "") == "yes<|im_end|>Grüße,你好🙂<|im_end|>"
    assert supervised_text(processor, batch, 1) in ("A cat.<|im_end|>", "A cat. <|im_end|>")


def test_generation_marks_and_prefixes_agree(processor, picture):
    plain = processor.chat_template
    marked = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}"
        "{% generation %}{{ m['content'][0]['text'] }}<|im_end|>{% endgeneration %}{% else %}"
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}"
        "{% endfor %}<|im_end|>{% endif %}{{ '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    rows = [row(*ROW, image=picture)]
    by_prefix = Collator(processor, family=LLAVA)(rows)
    try:
        processor.chat_template = marked
        by_mark = Collator(processor, family=LLAVA)(rows)
    finally:
        processor.chat_template = plain
    assert torch.equal(by_prefix["input_ids"], by_mark["input_ids"])
    assert torch.equal(by_prefix["labels"], by_mark["labels"])


@pytest.mark.parametrize("template", ["v1", "chat"])
def test_a_sample_does_not_depend_on_its_company(processor, picture, template):
    rows = [row(*ROW, image=picture), row("Hi?", "no"), row("<image>\n<image>\nBoth?", "yes", image=[picture] * 2)]
    together = Collator(processor, template, family=LLAVA)(rows)
    for i, one in enumerate(rows):
        alone = Collator(processor, template, family=LLAVA)([one])
        kept = together["attention_mask"][i].bool()
        assert torch.equal(together["input_ids"][i][kept], alone["input_ids"][0])
        assert torch.equal(together["labels"][i][kept], alone["labels"][0])
        assert bool((together["labels"][i][~kept] == IGNORE).all())
    assert together["pixel_values"].shape[0] == 3


def test_an_image_in_the_second_turn_stands_there(processor, picture):
    batch = Collator(processor, "v1", family=LLAVA)([row("Hi?", "no", "<image>\nAnd this?", "A cat.", image=picture)])
    image = (batch["input_ids"][0] == processor.image_token_id).nonzero().flatten()
    said = (batch["labels"][0] != IGNORE).nonzero().flatten()
    assert said[0] < image[0] < said[-1]


def test_a_sample_without_supervised_tokens_is_an_error_that_shows_it(processor):
    with pytest.raises(DataError, match=r"(?s)sample 'a' has no supervised token: .*USER: Hi") as error:
        Collator(processor, "v1", max_length=12, family=LLAVA)([row("Hi?", "no")])
    assert "max_length=12" in str(error.value)


def test_an_image_is_never_cut(processor, picture):
    with pytest.raises(DataError, match="image tokens after position 3"):
        Collator(processor, "plain", max_length=3, family=LLAVA)([row("<image>", "A cat.", image=picture)])


def test_a_template_whose_mask_cannot_be_told_is_refused(processor, picture):
    plain = processor.chat_template
    try:
        processor.chat_template = plain.replace(
            "{% for m in messages %}", "{{ messages | length }}{% for m in messages %}"
        )
        with pytest.raises(DataError, match="differently when others follow"):
            Collator(processor, family=LLAVA)([row(*ROW, image=picture)])
        processor.chat_template = "{% for m in messages %}{{ m['role'] }}{% endfor %}"
        with pytest.raises(DataError, match="marks"):
            Collator(processor, family=LLAVA)([row("Hi?", "no")])
        processor.chat_template = None
        with pytest.raises(ConfigError, match="has no chat template"):
            Collator(processor, family=LLAVA)([row("Hi?", "no")])
    finally:
        processor.chat_template = plain


def test_a_token_across_the_border_is_refused(processor):
    from fusionscope.data.collate import supervised
    from fusionscope.lvlm import Rendered

    rendered = Rendered(text="say:yes", spans=((4, 7),))
    assert supervised(rendered, [(0, 4), (4, 7)], [], "a") == [False, True]
    with pytest.raises(DataError, match="'y:yes' is partly assistant text") as error:
        supervised(rendered, [(0, 2), (2, 7)], [], "a")
    assert "blank" in str(error.value)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("Hi?"), r"turns \['user'\]"),
        (row("<image>\nHi?", "no"), "1 <image> placeholders and 0 images"),
        ({"id": "a", "conversations": [{"from": "tool", "value": "x"}]}, "has the turn"),
        ({"id": "a", "conversations": [{"from": "system", "value": "x"}]}, r"turns \[\]"),
        ({"id": "a", "conversations": []}, r"turns \[\]"),
    ],
)
def test_rows_that_are_no_conversations_are_refused(processor, bad, message):
    with pytest.raises(DataError, match=message):
        Collator(processor, family=LLAVA)([bad])


def test_square_centres_on_the_mean_colour():
    wide = Image.new("RGB", (4, 2), (255, 0, 0))
    padded = square(wide, [0.5, 0.25, 1.0])
    assert padded.size == (4, 4)
    assert padded.getpixel((0, 0)) == (127, 63, 255)
    assert padded.getpixel((0, 1)) == padded.getpixel((3, 2)) == (255, 0, 0)
    assert square(Image.new("RGB", (3, 3)), [0, 0, 0]).size == (3, 3)


@pytest.mark.parametrize("template", ["v1", "chat"])
def test_a_batch_of_texts_may_look_at_a_black_picture(processor, template):
    rows = [row("Hi?", "no"), row("What is this?", "A cat.", name="b")]
    plain, looking = (
        Collator(processor, template, family=LLAVA)(rows),
        Collator(processor, template, require_image=True, family=LLAVA)(rows),
    )
    assert "pixel_values" not in plain
    assert looking["pixel_values"].shape[0] == 1
    assert bool((looking["labels"][2] == IGNORE).all())
    for i in range(2):
        assert torch.equal(
            looking["labels"][i][looking["labels"][i] != IGNORE], plain["labels"][i][plain["labels"][i] != IGNORE]
        )


def with_system(text, *values, image=None):
    given = row(*values, image=image)
    return {**given, "conversations": [{"from": "system", "value": text}, *given["conversations"]]}


def test_a_system_turn_is_trained_on_and_not_supervised(processor, picture):
    given = with_system("The cat is black.", "<image>\nIs it?", "yes", image=picture)
    v1 = Collator(processor, "v1", family=LLAVA)([given])
    text = processor.tokenizer.decode(v1["input_ids"][0]).replace("▁", " ")
    assert "Thecatisblack.USER:" in "".join(text.split())
    assert "assistant gives helpful" not in text
    assert supervised_text(processor, v1).replace(" ", "") == "yes</s>"
    chat = Collator(processor, "chat", family=LLAVA)([given])
    text = processor.tokenizer.decode(chat["input_ids"][0]).replace("▁", " ")
    assert text.index("system") < text.index("black") < text.index("user")
    assert supervised_text(processor, chat).startswith("yes")


def test_a_system_turn_that_a_template_drops_is_refused(processor, picture, monkeypatch):
    given = with_system("Be brief.", "<image>\nIs it?", "yes", image=picture)
    with pytest.raises(DataError, match="'a' has a system turn"):
        Collator(processor, "plain", family=LLAVA)([given])
    without = processor.chat_template.replace(
        "{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"
    )
    monkeypatch.setattr(processor, "chat_template", without)
    with pytest.raises(DataError, match=r"does not write the system turn 'Be brief\.'"):
        Collator(processor, "chat", family=LLAVA)([given])
    with pytest.raises(DataError, match="has the system turn"):
        Collator(processor, "v1", family=LLAVA)([with_system("<image>", "Hi?", "no")])


class Picky:
    """A processor's encoder that takes no image wider than it may be."""

    needs_image = False

    def __init__(self, encode):
        self.encode = encode

    def __call__(self, rendered, images):
        if any(image.width > 1000 for some in images for image in some):
            raise ValueError("absolute aspect ratio must be smaller than 200, got 250.0")
        return self.encode(rendered, images)


def test_an_image_that_the_processor_refuses_is_named(processor, picture):
    collate = Collator(processor, "v1", family=LLAVA)
    collate.encode = Picky(collate.encode)
    thin = row("<image>\nWhat?", "A line.", image=Image.new("RGB", (2000, 8)), name="thin")
    thin["image_names"] = ["lines/7.png"]
    with pytest.raises(
        BadImageError, match=r"sample 'thin' with images lines/7\.png \(2000 x 8\) is refused: absolute"
    ):
        collate([row(*ROW, image=picture), thin])
    with pytest.raises(BadImageError, match="aspect ratio"):
        Filling(collate, skip_unfit=True)([Marked(row=thin)])
    marked, batch = Filling(collate, skip_bad=True).filled([Marked(row=row(*ROW, image=picture)), Marked(row=thin)])
    assert [sample.counts for sample in marked] == [True, False]
    assert "lines/7.png" in batch["skipped"][0]
    assert "unfit" not in batch
    assert bool((batch["labels"][1] == IGNORE).all())
