"""From rendered conversations and pictures to token ids and pixels: by the model's own processor where it can do that.

Three processors cannot, and `fusionscope.data.image_first` takes their place.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import torch
from PIL import Image
from torch import Tensor

from fusionscope.data.image_first import ENCODERS, names_of
from fusionscope.data.templates import Encoded, Rendered, image_token
from fusionscope.errors import ConfigError


class Encoder(Protocol):
    """Makes a padded batch; ``needs_image`` says that the model's forward takes no batch without a picture."""

    needs_image: ClassVar[bool]

    def __call__(self, rendered: Sequence[Rendered], images: Sequence[Sequence[Image.Image]]) -> Encoded:
        """Encode samples, each with its pictures."""


def encoder_for(processor: Any) -> Encoder:
    """How samples are encoded for a processor.

    Args:
        processor: A whole processor of transformers.

    Raises:
        ConfigError: It lacks something that its family needs.
    """
    for name in names_of(processor):
        if name in ENCODERS:
            return ENCODERS[name](processor)
    return Expanding(processor)


# Processors that cannot tell expansions where a batch begins with a sample that has none (transformers then takes them
# for numbers): one with pictures goes first. Named are their outputs for images that have an entry per sample.
_LED: Mapping[str, tuple[str, ...]] = {
    "Idefics3Processor": ("pixel_values", "pixel_attention_mask"),
    "InternVLProcessor": (),
}


class Expanding:
    """The processor puts tokens in the place of each image's mark and says where.

    Pictures are handed over as one list per sample, empty where it has none: Gemma 3 and Mllama count them by sample,
    and LLaVA-OneVision tiles the only picture of a sample, but none of several.

    Args:
        processor: The model's processor.
    """

    needs_image: ClassVar[bool] = False

    def __init__(self, processor: Any) -> None:
        self.processor, names = processor, names_of(processor)
        self.crosses = "MllamaProcessor" in names
        self.led = next((_LED[name] for name in names if name in _LED), None)
        # Elsewhere these ids come from the tokenizer, say nothing and are no input of the model.
        self.drops = () if "Gemma3Processor" in names else ("token_type_ids",)

    def __call__(self, rendered: Sequence[Rendered], images: Sequence[Sequence[Image.Image]]) -> Encoded:
        """Encode a batch."""
        if self.crosses:
            rendered = [self._begun(one) for one in rendered]
            _warn_of_leaks([len(some) for some in images])
        leader = next((i for i, some in enumerate(images) if some), 0)
        if self.led is None or leader == 0:
            return self._encoded(rendered, images)
        order = [leader, *(i for i in range(len(images)) if i != leader)]  # which leaves the order of the images
        found = self._encoded([rendered[i] for i in order], [images[i] for i in order])
        back, shape = [order.index(i) for i in range(len(order))], found.inputs["input_ids"].shape
        return Encoded(
            inputs={
                name: value[back] if value.shape == shape or name in self.led else value
                for name, value in found.inputs.items()
            },
            rendered=rendered,
            offsets=[found.offsets[i] for i in back],
            replaced=[found.replaced[i] for i in back],
        )

    def _encoded(self, rendered: Sequence[Rendered], images: Sequence[Sequence[Image.Image]]) -> Encoded:
        inputs = self._processed([one.text for one in rendered], images)
        replaced = inputs.pop("text_replacement_offsets", None)
        if replaced is None or isinstance(replaced, Tensor):  # InternVL's, where there is nothing in them
            replaced = [[]] * len(rendered)
        if "batch_num_images" in inputs:  # LLaVA-OneVision's leave out samples without, which packing must place too
            inputs["batch_num_images"] = torch.tensor([len(some) for some in images])
        if "offset_mapping" not in inputs:
            raise ConfigError(
                f"{type(self.processor).__name__} tells no offsets",
                "labels are made from the characters that each token covers",
                "use one of transformers' own processors",
            )
        offsets = inputs.pop("offset_mapping").tolist()
        return Encoded(inputs=inputs, rendered=rendered, offsets=offsets, replaced=replaced)

    def _processed(self, texts: list[str], images: Sequence[Sequence[Image.Image]]) -> dict[str, Any]:
        bos = self.processor.tokenizer.bos_token
        written = self.crosses or (bos and all(text.startswith(bos) for text in texts))
        encoded = self.processor(
            text=texts,
            images=[list(some) for some in images] if any(images) else None,
            padding=True,
            padding_side="right",
            add_special_tokens=not written,
            return_tensors="pt",
            return_offsets_mapping=True,
            return_text_replacement_offsets=True,
        )
        return {key: value for key, value in encoded.items() if key not in self.drops}

    def _begun(self, one: Rendered) -> Rendered:
        """With the start token where Mllama's processor would write it, which moves the characters after it."""
        start, mark = self.processor.tokenizer.bos_token, image_token(self.processor)
        if start in one.text:
            return one
        place = 0
        while one.text.startswith(mark, place):
            place += len(mark)
        moved = tuple(tuple(at + len(start) * (at >= place) for at in span) for span in one.spans)
        return replace(one, text=one.text[:place] + start + one.text[place:], spans=moved)  # type: ignore[arg-type]


def _warn_of_leaks(images: Sequence[int]) -> None:
    """Say where a sample's loss depends on its company, which no input of the model can prevent.

    Reference: transformers issue 39379 (the mask of rows that see no image is applied after the cross-attention).
    """
    if len(set(images)) > 1:
        warnings.warn(
            f"samples with {sorted(set(images))} images in one batch: in transformers' Mllama a token before the first "
            "image of its sample attends to all pictures of its row, empty ones included: text-only samples are "
            "not read as they are alone. On one process, data.group_by_length=true keeps most in batches of their own",
            stacklevel=4,
        )
