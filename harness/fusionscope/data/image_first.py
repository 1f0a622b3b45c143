"""PaliGemma, InstructBLIP and Fuyu: pictures come first, then the start token, then the conversation.

Their processors cannot make training data of conversations: none tells offsets; PaliGemma's and InstructBLIP's write
image tokens, start tokens and line ends into samples without pictures, and refuse batches of them; InstructBLIP's shows
the answer to the Q-Former; Fuyu's pads on the left. So tokens are laid out here as they do for a single question.

Wherever a conversation shows a picture, these models see it first: none of them was trained otherwise.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fusionscope.data.templates import Encoded, Rendered, image_token
from fusionscope.errors import ConfigError
from fusionscope.lvlm.fuyu import patchify

Pictures = Sequence[Sequence[Image.Image]]
Offsets = Sequence[Sequence[tuple[int, int]]]


class ImageFirst(ABC):
    """Head (image tokens and start token) and text, tokenized apart.

    Args:
        processor: The model's processor.

    Raises:
        ConfigError: The processor doesn't know how many tokens an image is, or its tokenizer lacks the start token.
    """

    needs_image: ClassVar[bool] = False
    start: ClassVar[str | None] = None
    """The start token; the tokenizer's own if None."""

    def __init__(self, processor: Any) -> None:
        self.processor, self.tokenizer = processor, processor.tokenizer
        self.mark, self.start_text = image_token(processor), self.start or processor.tokenizer.bos_token
        self.image_id, self.start_id = (self._id(text) for text in (self.mark, self.start_text))

    def __call__(self, rendered: Sequence[Rendered], images: Pictures) -> Encoded:
        """Encode a batch."""
        bodies = [without(one, self.mark, self.start_text) for one in rendered]
        heads, pixels = self.heads(images)
        words = self.tokenizer([one.text for one in bodies], add_special_tokens=False, return_offsets_mapping=True)
        rows = [head + ids for head, ids in zip(heads, words["input_ids"], strict=True)]
        offsets = [
            [(0, 0)] * len(head) + [tuple(one) for one in body]
            for head, body in zip(heads, words["offset_mapping"], strict=True)
        ]
        pad = self.tokenizer.pad_token_id
        inputs = {
            "input_ids": _padded(rows, 0 if pad is None or pad == self.image_id else pad),
            "attention_mask": _padded([[1] * len(row) for row in rows], 0),
            **pixels,
            **self.more(bodies, offsets, [len(some) for some in images]),
        }
        width = inputs["input_ids"].shape[1]
        filled = [one + [(0, 0)] * (width - len(one)) for one in offsets]
        return Encoded(inputs=inputs, rendered=bodies, offsets=filled, replaced=[[]] * len(bodies))

    @abstractmethod
    def heads(self, images: Pictures) -> tuple[list[list[int]], dict[str, Tensor]]:
        """What stands before each sample's text, and the pixels of all pictures."""

    def more(self, bodies: Sequence[Rendered], offsets: Offsets, images: Sequence[int]) -> dict[str, Tensor]:
        """Further inputs of the model."""
        return {}

    def _fixed(self, images: Pictures, length: Any) -> tuple[list[list[int]], dict[str, Tensor]]:
        """Heads of images that are ``length`` tokens each."""
        heads = [[self.image_id] * (int(length) * len(some)) + [self.start_id] for some in images]
        flat = [image for some in images for image in some]
        made = self.processor.image_processor(images=flat, return_tensors="pt") if flat else {}
        return heads, {name: made[name] for name in ("pixel_values",) if name in made}

    def _id(self, text: str | None) -> int:
        token = None if text is None else self.tokenizer.convert_tokens_to_ids(text)
        if token is None or token == self.tokenizer.unk_token_id:
            raise ConfigError(
                f"the tokenizer has no token {text or 'to start a text with'!r}",
                f"{type(self.processor).__name__} lays out images and text with it",
                "load the processor of the model's own checkpoint",
            )
        return int(token)


class PaliGemma(ImageFirst):
    """Images, start token and first question see each other in both directions; all from the first answer on is causal.

    What PaliGemma was trained on is one question and one answer; the turns after them continue the causal part.
    """

    def heads(self, images: Pictures) -> tuple[list[list[int]], dict[str, Tensor]]:
        """As many tokens for each image as the processor says."""
        return self._fixed(images, self.processor.image_seq_length)

    def more(self, bodies: Sequence[Rendered], offsets: Offsets, images: Sequence[int]) -> dict[str, Tensor]:
        """``token_type_ids``: 0 where attention is bidirectional, 1 in the causal part and in the padding."""
        kinds = [[int(end > one.spans[0][0]) for _, end in row] for one, row in zip(bodies, offsets, strict=True)]
        return {"token_type_ids": _padded(kinds, 1)}


class InstructBlip(ImageFirst):
    """The Q-Former looks at each image with the words before the first answer, not with the answer."""

    needs_image = True

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        if processor.num_query_tokens is None:
            raise ConfigError(
                f"{type(processor).__name__} has num_query_tokens=None",
                "each image becomes as many tokens as the Q-Former has queries",
                "set processor.num_query_tokens = model.config.num_query_tokens",
            )

    def heads(self, images: Pictures) -> tuple[list[list[int]], dict[str, Tensor]]:
        """One token for each query of the Q-Former."""
        return self._fixed(images, self.processor.num_query_tokens)

    def more(self, bodies: Sequence[Rendered], offsets: Offsets, images: Sequence[int]) -> dict[str, Tensor]:
        """The Q-Former's words: one row per image, none for samples without."""
        questions = [one.text[: one.spans[0][0]].rstrip() for one in bodies]
        texts = [text for text, n in zip(questions, images, strict=True) for _ in range(n)]
        if not texts:
            return {}
        reader = self.processor.qformer_tokenizer
        words = reader(
            texts, padding=True, padding_side="right", truncation=True, return_tensors="pt", return_token_type_ids=False
        )
        return {f"qformer_{name}": words[name] for name in ("input_ids", "attention_mask")}


class Fuyu(ImageFirst):
    """One token per patch, a newline token after every row of patches."""

    start = "<s>"

    def heads(self, images: Pictures) -> tuple[list[list[int]], dict[str, Tensor]]:
        """Rows of patches of one picture after the other."""
        newline, heads, patches = self._id("|NEWLINE|"), [], []
        for some in images:
            head: list[int] = []
            for image in some:
                made = patchify(self.processor.image_processor, image)
                columns = int(made["columns"])
                head += ([self.image_id] * columns + [newline]) * (len(made["pixel_values"]) // columns)
                patches.append(made["pixel_values"])
            heads.append([*head, self.start_id])
        return heads, {"pixel_values": torch.cat(patches)} if patches else {}


ENCODERS: Mapping[str, Callable[[Any], ImageFirst]] = {
    "PaliGemmaProcessor": PaliGemma,
    "InstructBlipProcessor": InstructBlip,
    "FuyuProcessor": Fuyu,
}
"""By the names of transformers' processors."""


def names_of(processor: Any) -> list[str]:
    """Names of the processor's class and of those it inherits from."""
    return [kind.__name__ for kind in type(processor).__mro__]


def without(rendered: Rendered, mark: str, start: str) -> Rendered:
    """A conversation without its images' marks and the start token at its beginning.

    >>> without(Rendered(text="<i>what ? red", spans=((10, 13),)), "<i>", "<s>")
    Rendered(text='what ? red', spans=((7, 10),))
    """
    found = [one.span() for one in re.finditer(re.escape(mark), rendered.text)]
    kept = "".join(rendered.text.split(mark))
    first = len(start) if kept.startswith(start) else 0
    moved = [
        tuple(at - first - sum(end - begin for begin, end in found if end <= at) for at in span)
        for span in rendered.spans
    ]
    return Rendered(text=kept[first:], spans=tuple((begin, end) for begin, end in moved))


def _padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=fill)
