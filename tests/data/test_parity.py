"""LLaVA's templates, token by token, against expectations written by hand.

The fixture tokenizer makes one token of every word, punctuation mark, symbol and newline, so that the expected tokens
and labels follow from the fixture's text by a regular expression and by eye.
"""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image
from tokenizers import Regex, Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import LlavaProcessor, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from fusionscope.data import Collator
from fusionscope.lvlm import family_of

LLAVA = family_of("llava")

CASES = yaml.safe_load((Path(__file__).parent / "fixtures" / "llava_parity.yaml").read_text(encoding="utf-8"))
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)
PATTERN = r"<image>|</s>|\n|[\w\u0300-\u036f]+|[^\w\s]"
N_IMAGE_TOKENS = 4


def expected(case) -> list[tuple[str, bool]]:
    """(token, learnt), the start token and the expanded image included."""
    tokens, learnt = [("<s>", False)], False
    for piece in re.split(r"(\[\[|\]\])", case["expect"].replace("SYSTEM", SYSTEM)):
        if piece in ("[[", "]]"):
            learnt = piece == "[["
            continue
        for token in re.findall(PATTERN, piece):
            tokens += [(token, learnt)] * (N_IMAGE_TOKENS if token == "<image>" else 1)
    return tokens


@pytest.fixture(scope="module")
def processor() -> LlavaProcessor:
    words = dict.fromkeys(token for case in CASES for token, _ in expected(case))
    special = ["<unk>", "<pad>", "<s>", "</s>", "<image>"]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*special, *words]))}
    core = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(PATTERN), behavior="removed", invert=True)
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        model_input_names=["input_ids", "attention_mask"],
    )
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def row(case):
    speakers = ("gpt", "human") if case.get("first") == "gpt" else ("human", "gpt")
    turns = [{"from": speakers[i % 2], "value": value} for i, value in enumerate(case["turns"])]
    n_images = sum(value.count("<image>") for value in case["turns"])
    return {"id": case["name"], "image": [Image.new("RGB", (28, 28))] * n_images, "conversations": turns}


def test_there_are_twenty():
    assert len({case["name"] for case in CASES}) == 20


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_tokens_and_labels(case, processor):
    batch = Collator(processor, case["template"], family=LLAVA)([row(case)])
    tokens = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    labels = batch["labels"][0].tolist()
    assert "<unk>" not in tokens
    assert [(token, label != -100) for token, label in zip(tokens, labels, strict=True)] == expected(case)
    assert all(label in (-100, token) for token, label in zip(batch["input_ids"][0].tolist(), labels, strict=True))


@pytest.mark.parametrize("template", ["v1", "plain"])
def test_the_same_in_one_batch(template, processor):
    cases = [case for case in CASES if case["template"] == template]
    batch = Collator(processor, template, family=LLAVA)([row(case) for case in cases])
    for i, case in enumerate(cases):
        kept = batch["attention_mask"][i].bool()
        tokens = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][i][kept])
        labels = batch["labels"][i][kept].tolist()
        assert [(token, label != -100) for token, label in zip(tokens, labels, strict=True)] == expected(case)


@pytest.fixture(scope="module")
def check_tokens():
    """The tool that does the same with the real tokenizer, where a hub is reachable."""
    path = Path(__file__).parents[2] / "tools" / "check_tokens.py"
    spec = importlib.util.spec_from_file_location("check_tokens", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_ids_are_those_of_the_published_code(case, processor, check_tokens):
    assert check_tokens.differences(case, processor) == []


def test_another_text_and_other_labels_are_told(processor, check_tokens):
    case = {**CASES[0], "expect": CASES[0]["expect"].replace("A cat.", "A cat")}
    ids, labels = check_tokens.differences(case, processor)
    assert ids.startswith("ids ")
    assert "A cat" in labels
