"""Whether LLaVA-1.5's real tokenizer gives the ids and labels that LLaVA's own code makes of the parity conversations.

    python tools/check_tokens.py [--processor llava-hf/llava-1.5-7b-hf]        # needs a connection to the model hub

For each conversation of tests/data/fixtures/llava_parity.yaml, whose text was written by hand from the published
templates: the Collator's ids (an image's run of tokens counted as one) against LLaVA's `tokenizer_image_token` of that
text, which tokenizes what stands between images piece by piece (haotian-liu/LLaVA at c121f04, llava/mm_utils.py); and
what the labels spell against what shall be supervised. Prints every difference; exits with 1 where there is one.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from fusionscope.data import Collator
from fusionscope.data.templates import V1_SYSTEM
from fusionscope.lvlm import family_of

FIXTURE = Path(__file__).parents[1] / "tests" / "data" / "fixtures" / "llava_parity.yaml"
IMAGE = "<image>"


def differences(case: dict[str, Any], processor: Any) -> list[str]:
    """What the Collator does otherwise than LLaVA with one conversation."""
    batch = Collator(processor, case["template"], family=family_of("llava"))([row(case)])
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    image = processor.tokenizer.convert_tokens_to_ids(IMAGE)
    expected = case["expect"].replace("SYSTEM", V1_SYSTEM)
    found = [token for i, token in enumerate(ids) if token != image or i == 0 or ids[i - 1] != image]
    published = piecewise(re.sub(r"\[\[|\]\]", "", expected), processor.tokenizer, image)
    wrong = [] if found == published else [f"ids {found}, published {published}"]
    spelt = processor.tokenizer.decode([label for label in labels if label != -100])
    supervised = "".join(re.findall(r"\[\[(.*?)\]\]", expected, re.DOTALL))
    # blanks at the border of a word belong to its token or not, by the tokenizer
    if "".join(spelt.split()) != "".join(supervised.split()):
        wrong.append(f"labels spell {spelt!r}, to be supervised is {supervised!r}")
    return wrong


def piecewise(text: str, tokenizer: Any, image: int) -> list[int]:
    """LLaVA's `tokenizer_image_token`: the pieces between images, each but the first without its start token."""
    pieces = [tokenizer(piece).input_ids for piece in text.split(IMAGE)]
    starts = bool(pieces[0]) and pieces[0][0] == tokenizer.bos_token_id
    ids = list(pieces[0])
    for piece in pieces[1:]:
        ids += [image, *piece[starts:]]
    return ids


def row(case: dict[str, Any]) -> dict[str, Any]:
    """The conversation as a row of LLaVA's data, with grey images."""
    speakers = ("gpt", "human") if case.get("first") == "gpt" else ("human", "gpt")
    turns = [{"from": speakers[i % 2], "value": value} for i, value in enumerate(case["turns"])]
    images = [Image.new("RGB", (28, 28))] * sum(value.count(IMAGE) for value in case["turns"])
    return {"id": case["name"], "image": images, "conversations": turns}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processor", default="llava-hf/llava-1.5-7b-hf", help="directory or hub name (%(default)s)")
    options = parser.parse_args()
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(options.processor)
    cases = yaml.safe_load(FIXTURE.read_text(encoding="utf-8"))
    found = [f"{case['name']}: {line}" for case in cases for line in differences(case, processor)]
    print("\n".join([*found, f"{len(cases)} conversations, {len(found)} differences"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
