"""Training data for other families: their own processors and chat templates; assistant text alone is learnt.

The processors' parts for videos need torchvision, so a stand-in takes their place; images go the real way.
"""

import pytest
import transformers
from PIL import Image
from transformers.processing_utils import ProcessorMixin, VideosKwargs

from fusionscope.data import Collator
from fusionscope.errors import MissingDependencyError
from fusionscope.lvlm import tiny


class NoVideos:
    valid_kwargs = VideosKwargs
    model_input_names: tuple[str, ...] = ()
    unused_input_names: tuple[str, ...] = ()


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


def processor(model_type):
    parts = tiny.build(model_type)[1]
    words = parts.tokenizer
    common = {"image_processor": parts.image_processor, "tokenizer": words, "chat_template": parts.chat_template}
    if model_type == "qwen2_5_vl":
        return transformers.Qwen2_5_VLProcessor(video_processor=NoVideos(), **common)
    if model_type == "internvl":
        signs = {"start_image": "<img>", "end_image": "</img>", "context_image": "<IMG_CONTEXT>", "video": "<video>"}
        for name, sign in signs.items():
            setattr(words, f"{name}_token", sign)
            setattr(words, f"{name}_token_id", words.convert_tokens_to_ids(sign))
        return transformers.InternVLProcessor(video_processor=NoVideos(), image_seq_length=4, **common)
    return transformers.Idefics3Processor(image_seq_len=4, **common)


@pytest.mark.parametrize(
    ("model_type", "end"),
    [("qwen2_5_vl", "<|im_end|>"), ("internvl", "<|im_end|>"), ("idefics3", "<end_of_utterance>")],
)
def test_other_families_learn_assistant_text_alone(model_type, end, monkeypatch):
    monkeypatch.setattr(ProcessorMixin, "check_argument_for_proper_class", lambda *arguments, **settings: None)
    model, whole = tiny.build(model_type)[0], processor(model_type)
    batch = Collator(whole, "chat", 4096)(ROWS)
    said = [whole.tokenizer.decode(row[row != -100]) for row in batch["labels"]]
    blank = " " if model_type == "idefics3" else ""
    assert said == [f"{blank}red{end}{blank}yes{end}", f"{blank}yes{end}", f"{blank}green , blue{end}"]
    assert model(**batch).loss.isfinite()


def test_parts_of_a_processor_are_not_enough():
    with pytest.raises(MissingDependencyError, match=r"(?s)ComposedProcessor.*torchvision"):
        Collator(tiny.build("internvl")[1])
