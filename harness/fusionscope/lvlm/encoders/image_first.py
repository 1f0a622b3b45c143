"""Families in which images come first, then the start token, then the conversation.

Their processors cannot make training data of conversations: none returns offsets; PaliGemma's and InstructBLIP's write
image tokens, start tokens and line ends into samples without images, and refuse batches of them; InstructBLIP's shows
the answer to the Q-Former; Fuyu's pads on the left. So tokens are laid out here as they are for a single question.

Wherever a conversation shows an image, these models see it first: none of them was trained otherwise.
"""

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fusionscope.errors import ConfigError
from fusionscope.lvlm.encoders.base import Encoded, Encoder, Images, Rendered

if TYPE_CHECKING:
    from fusionscope.lvlm.family import Family

Offsets = Sequence[Sequence[tuple[int, int]]]


class ImageFirstEncoder(Encoder):
    """Head (image tokens and start token) and text, tokenized apart.

    Args:
        processor: The model's processor.
        family: The model's family.

    Raises:
        ConfigError: The tokenizer lacks the start token or the image's.
    """

    start: ClassVar[str | None] = None
    """The start token; the tokenizer's own if None."""

    def __init__(self, processor: Any, family: "Family") -> None:
        super().__init__(processor, family)
        self.tokenizer = processor.tokenizer
        self.start_text = self.start or self.tokenizer.bos_token
        self.image_id = self.token_id(self.form.image_text)
        self.start_id = self.token_id(self.start_text)

    def __call__(self, rendered: Sequence[Rendered], images: Images) -> Encoded:
        bodies = [without(sample, self.form.image_text, self.start_text) for sample in rendered]
        heads, pixels = self.heads(images)
        words = self.tokenizer(
            [sample.text for sample in bodies], add_special_tokens=False, return_offsets_mapping=True
        )
        rows = [head + ids for head, ids in zip(heads, words["input_ids"], strict=True)]
        offsets = [
            [(0, 0)] * len(head) + [(start, end) for start, end in body]
            for head, body in zip(heads, words["offset_mapping"], strict=True)
        ]
        pad = self.tokenizer.pad_token_id
        inputs = {
            "input_ids": padded_rows(rows, 0 if pad is None or pad == self.image_id else pad),
            "attention_mask": padded_rows([[1] * len(row) for row in rows], 0),
            **pixels,
            **self.further_inputs(bodies, offsets, [len(some) for some in images]),
        }
        width = inputs["input_ids"].shape[1]
        filled = [row + [(0, 0)] * (width - len(row)) for row in offsets]
        return Encoded(inputs=inputs, rendered=bodies, offsets=filled, replaced=[[]] * len(bodies))

    @abstractmethod
    def heads(self, images: Images) -> tuple[list[list[int]], dict[str, Tensor]]:
        """What stands before each sample's text, and the pixels of all images."""

    def further_inputs(self, bodies: Sequence[Rendered], offsets: Offsets, images: Sequence[int]) -> dict[str, Tensor]:
        """Further inputs of the model.

        Args:
            bodies: The conversations without images and start tokens.
            offsets: (start, end) of each token in its conversation, (0, 0) for those of the head.
            images: The number of images of each sample.
        """
        return {}

    def fixed_heads(self, images: Images, length: int) -> tuple[list[list[int]], dict[str, Tensor]]:
        """Heads of images that are ``length`` tokens each."""
        heads = [[self.image_id] * (length * len(some)) + [self.start_id] for some in images]
        flat = [image for some in images for image in some]
        outputs = self.processor.image_processor(images=flat, return_tensors="pt") if flat else {}
        return heads, {name: outputs[name] for name in ("pixel_values",) if name in outputs}

    def token_id(self, text: str | None) -> int:
        """The id of a token that the layout needs.

        Raises:
            ConfigError: The tokenizer has none.
        """
        token = None if text is None else self.tokenizer.convert_tokens_to_ids(text)
        if token is None or token == self.tokenizer.unk_token_id:
            raise ConfigError(
                f"the tokenizer has no token {text or 'to start a text with'!r}",
                f"images and text are laid out with it for {type(self.processor).__name__}",
                "load the processor of the model's own checkpoint",
            )
        return int(token)


def without(rendered: Rendered, mark: str, start: str) -> Rendered:
    """A conversation without its images' marks and the start token at its beginning.

    >>> without(Rendered(text="<i>what ? red", spans=((10, 13),)), "<i>", "<s>")
    Rendered(text='what ? red', spans=((7, 10),))
    """
    marks = [match.span() for match in re.finditer(re.escape(mark), rendered.text)]
    kept = "".join(rendered.text.split(mark))
    first = len(start) if kept.startswith(start) else 0

    def moved(at: int) -> int:
        return at - first - sum(end - begin for begin, end in marks if end <= at)

    return Rendered(text=kept[first:], spans=tuple((moved(begin), moved(end)) for begin, end in rendered.spans))


def padded_rows(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Rows of numbers as one tensor, padded on the right: int64 [N, T]."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=fill)
