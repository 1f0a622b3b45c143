"""Training data for other families: their own processors and chat templates; assistant text alone is learnt.

Images go the real way, see the fixture ``family_processor``.
"""

import pytest
from PIL import Image

from fusionscope.data import Collator
from fusionscope.errors import MissingDependencyError
from fusionscope.lvlm import tiny


def turns(*texts):
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def picture(colour):
    return Image.new("RGB", (32, 32), colour)


ROWS = [
    {
        "id": "two turns",
        "image": picture((200, 9, 9)),
        "conversations": turns("<image>\nwhat ?", "red", "sure ?", "yes"),
    },
    {"id": "text", "image": None, "conversations": turns("say yes", "yes")},
    {
        "id": "two images",
        "image": [picture((9, 200, 9)), picture((9, 9, 200))],
        "conversations": turns("<image>\n<image>\nwhat ?", "green , blue"),
    },
]


@pytest.mark.parametrize(
    ("model_type", "end"),
    [("qwen2_5_vl", "<|im_end|>"), ("internvl", "<|im_end|>"), ("idefics3", "<end_of_utterance>")],
)
def test_other_families_learn_assistant_text_alone(model_type, end, family_processor):
    model, whole = tiny.build(model_type)[0], family_processor(model_type)
    batch = Collator(whole, "chat", 4096)(ROWS)
    said = [whole.tokenizer.decode(row[row != -100]) for row in batch["labels"]]
    blank = " " if model_type == "idefics3" else ""
    assert said == [f"{blank}red{end}{blank}yes{end}", f"{blank}yes{end}", f"{blank}green , blue{end}"]
    assert model(**batch).loss.isfinite()


def test_parts_of_a_processor_are_not_enough():
    with pytest.raises(MissingDependencyError, match=r"(?s)ComposedProcessor.*torchvision"):
        Collator(tiny.build("internvl")[1])
