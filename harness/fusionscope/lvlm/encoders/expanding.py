"""Families whose own processor makes the batch: it puts tokens in the place of each image's mark and says where."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from fusionscope.errors import ConfigError
from fusionscope.lvlm.encoders.base import Encoded, Encoder, Images, Rendered


class ExpandingEncoder(Encoder):
    """The processor expands and tokenizes; what it says of the characters that each token covers is kept.

    Images are handed over as one list per sample, empty where it has none: Gemma 3 and Mllama count them by sample,
    and LLaVA-OneVision tiles the only image of a sample, but none of several.
    """

    dropped: ClassVar[tuple[str, ...]] = ("token_type_ids",)
    """Outputs of the processor that come from the tokenizer, say nothing and are no input of the model."""

    def __call__(self, rendered: Sequence[Rendered], images: Images) -> Encoded:
        inputs = self._processed([sample.text for sample in rendered], images)
        replaced = inputs.pop("text_replacement_offsets", None)
        if replaced is None or isinstance(replaced, Tensor):  # a tensor where there is nothing in them
            replaced = [[]] * len(rendered)
        if "offset_mapping" not in inputs:
            raise ConfigError(
                f"{type(self.processor).__name__} returns no offsets",
                "labels are made from the characters that each token covers",
                "use one of transformers' own processors",
            )
        offsets = inputs.pop("offset_mapping").tolist()
        return Encoded(inputs=inputs, rendered=rendered, offsets=offsets, replaced=replaced)

    def starts_are_written(self, texts: Sequence[str]) -> bool:
        """Whether the texts hold their start tokens, so that the tokenizer must not add any."""
        bos = self.processor.tokenizer.bos_token
        return bool(bos) and all(text.startswith(bos) for text in texts)

    def _processed(self, texts: list[str], images: Images) -> dict[str, Any]:
        encoded = self.processor(
            text=texts,
            images=[list(some) for some in images] if any(images) else None,
            padding=True,
            padding_side="right",
            add_special_tokens=not self.starts_are_written(texts),
            return_tensors="pt",
            return_offsets_mapping=True,
            return_text_replacement_offsets=True,
        )
        return {key: value for key, value in encoded.items() if key not in self.dropped}


class LeadingImageEncoder(ExpandingEncoder):
    """For processors that cannot return expansions where a batch begins with a sample that has none.

    transformers then takes them for numbers. One with images goes first, and the rows are put back afterwards.
    """

    per_sample: ClassVar[tuple[str, ...]] = ()
    """The processor's outputs for images that have one entry per sample."""

    def __call__(self, rendered: Sequence[Rendered], images: Images) -> Encoded:
        leader = next((i for i, some in enumerate(images) if some), 0)
        order = [leader, *(i for i in range(len(images)) if i != leader)]  # which leaves the order of the images
        encoded = super().__call__([rendered[i] for i in order], [images[i] for i in order])
        back = [order.index(i) for i in range(len(order))]
        shape = encoded.inputs["input_ids"].shape
        return Encoded(
            inputs={
                name: value[back] if value.shape == shape or name in self.per_sample else value
                for name, value in encoded.inputs.items()
            },
            rendered=rendered,
            offsets=[encoded.offsets[i] for i in back],
            replaced=[encoded.replaced[i] for i in back],
        )
