"""From conversations to a padded batch whose labels cover assistant text and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from fusionscope.data.conversation import Conversation, Turn, parse
from fusionscope.data.templates import Rendered, TemplateName, image_token, render
from fusionscope.errors import ConfigError, DataError, MissingDependencyError

IGNORE = -100


class Collator:
    """Turn LLaVA rows into model inputs and labels.

    The processor expands image placeholders and tokenizes; it also says which characters each token covers, and that
    alone decides the labels. A token is supervised where it overlaps assistant text; what it covers besides may only be
    white space (tokenizers glue a leading blank to a word), which every sample is checked for.

    Args:
        processor: The model's processor, with a fast tokenizer.
        template: ``"plain"``, ``"v1"`` or ``"chat"`` (`fusionscope.data.templates.render`).
        max_length: Longer samples are cut at their end; image tokens are never cut.
        always_look: Add a black picture with nothing to learn to a batch without any image. Ranks wait for each other
            in vision tower and projector, which a batch of texts alone would leave out (LLaVA does the same).
        pad_to_square: Pad images to squares with the processor's mean colour, as LLaVA-1.5 does in stage 2.

    Raises:
        ConfigError: The tokenizer is not a fast one.
        MissingDependencyError: The model's own processor could not be loaded as a whole.
    """

    def __init__(
        self,
        processor: Any,
        template: TemplateName = "chat",
        max_length: int = 2048,
        pad_to_square: bool = False,
        always_look: bool = False,
    ) -> None:
        if not processor.tokenizer.is_fast:
            raise ConfigError(
                f"{type(processor.tokenizer).__name__} is not a fast tokenizer",
                "labels are made from the characters that each token covers, which slow ones don't tell",
                "load the processor with use_fast=True",
            )
        if not callable(processor):
            raise MissingDependencyError(
                f"{type(processor).__name__} holds a processor's parts",
                "training data is prepared by the model's own processor, which did not load as a whole here: mostly, "
                "its part for videos misses torchvision (probing does without)",
                "pip install 'fusionscope[torchvision]'; it must match torch",
            )
        self.processor, self.template, self.max_length = processor, template, max_length
        self.pad_to_square, self.always_look = pad_to_square, always_look

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Collate.

        Args:
            rows: LLaVA rows with opened images.

        Returns:
            The model's inputs, right-padded, and ``labels`` int64 [B, T], -100 outside assistant text.

        Raises:
            DataError: A sample has no supervised token, a token crosses the border of the assistant's text, or images
                do not fit into ``max_length``.
        """
        conversations = [parse(row) for row in rows]
        if self.always_look and not any(conversation.images for conversation in conversations):
            conversations.append(self._blank())
        rendered = [render(conversation, self.template, self.processor) for conversation in conversations]
        images = [self._image(image) for conversation in conversations for image in conversation.images]
        batch = self._process([one.text for one in rendered], images)
        offsets = batch.pop("offset_mapping").tolist()
        replaced = batch.pop("text_replacement_offsets", None) or [[] for _ in rendered]
        labels = torch.full_like(batch["input_ids"], IGNORE)
        for i, (conversation, one) in enumerate(zip(conversations, rendered, strict=True)):
            mask = supervised(one, offsets[i], replaced[i], conversation.id)
            mask_T = torch.tensor(mask) & batch["attention_mask"][i].bool()
            labels[i][mask_T] = batch["input_ids"][i][mask_T]
        done = self._cut({**batch, "labels": labels}, [c.id for c in conversations], [r.text for r in rendered])
        done["labels"][len(rows) :] = IGNORE  # the black picture's row, if there is one
        return done

    def _process(self, texts: list[str], images: list[Any]) -> dict[str, Any]:
        bos = self.processor.tokenizer.bos_token
        encoded = self.processor(
            text=texts,
            images=images or None,
            padding=True,
            padding_side="right",
            add_special_tokens=not (bos and all(text.startswith(bos) for text in texts)),
            return_tensors="pt",
            return_offsets_mapping=True,
            return_text_replacement_offsets=True,
        )
        return {key: value for key, value in encoded.items() if key != "token_type_ids"}

    def _blank(self) -> Conversation:
        crop = getattr(self.processor.image_processor, "crop_size", None) or {}
        picture = Image.new("RGB", (int(crop.get("width", 336)), int(crop.get("height", 336))))
        turns = (Turn(role="user", text="", images=1), Turn(role="assistant", text="."))
        return Conversation(id="blank", turns=turns, images=(picture,))

    def _image(self, image: Any) -> Any:
        image = image.convert("RGB")
        return square(image, self.processor.image_processor.image_mean) if self.pad_to_square else image

    def _cut(self, batch: dict[str, Any], ids: list[str], texts: list[str]) -> dict[str, Any]:
        length = batch["input_ids"].shape[1]
        if length > self.max_length:
            image_id = self.processor.tokenizer.convert_tokens_to_ids(image_token(self.processor))
            if bool((batch["input_ids"][:, self.max_length :] == image_id).any()):
                raise DataError(
                    f"a sample of {ids} has image tokens after position {self.max_length}",
                    "half an image cannot be shown",
                    "raise max_length",
                )
            batch = {
                key: value[:, : self.max_length] if value.shape[:2] == (len(ids), length) else value
                for key, value in batch.items()
            }
        for name, text, labels in zip(ids, texts, batch["labels"], strict=True):
            if bool((labels == IGNORE).all()):
                raise DataError(
                    f"sample {name!r} has no token to learn from: {text[:400]!r}",
                    f"every label is ignored within max_length={self.max_length}; its loss would be a silent zero",
                    "check the template and the tokenizer, raise max_length, or drop the sample",
                )
        return batch


def supervised(
    rendered: Rendered, offsets: Sequence[Sequence[int]], replaced: Sequence[Mapping[str, Any]], name: str
) -> list[bool]:
    """Which tokens are assistant text.

    Args:
        rendered: The string before image placeholders were expanded, and its assistant spans.
        offsets: (start, end) in the expanded string, per token; (0, 0) for special tokens that cover no text.
        replaced: The expansions: ``span`` before and ``new_span`` after.
        name: The sample's id, for messages.

    Raises:
        DataError: A token covers assistant text and other visible text.
    """
    spans = [tuple(_shifted(position, replaced) for position in span) for span in rendered.spans]
    text = _expanded(rendered.text, replaced)
    return [any(_inside(token, span, text, name) for span in spans) for token in offsets]


def _inside(token: Sequence[int], span: tuple[int, ...], text: str, name: str) -> bool:
    start, end = max(token[0], span[0]), min(token[1], span[1])
    if start >= end:
        return False
    if (text[token[0] : start] + text[end : token[1]]).strip():
        raise DataError(
            f"sample {name!r}: the token for {text[token[0] : token[1]]!r} is partly assistant text, partly not",
            "it can neither be learnt nor left out",
            "use a template that sets the assistant's text off with a blank, a newline or a special token",
        )
    return True


def _shifted(position: int, replaced: Sequence[Mapping[str, Any]]) -> int:
    grown = [one for one in replaced if one["span"][1] <= position]
    lengths = [[one[key][1] - one[key][0] for key in ("span", "new_span")] for one in grown]
    return position + sum(int(after - before) for before, after in lengths)


def _expanded(text: str, replaced: Sequence[Mapping[str, Any]]) -> str:
    pieces, last = [], 0
    for one in replaced:
        pieces += [text[last : one["span"][0]], one["replacement"]]
        last = one["span"][1]
    return "".join([*pieces, text[last:]])


def square(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """Pad to a square, the image centred, as LLaVA's expand2square.

    Args:
        image: RGB image.
        mean: The image processor's mean per channel, in [0, 1].

    >>> square(Image.new("RGB", (4, 2)), [0.5, 0.5, 0.5]).size
    (4, 4)
    """
    side = max(image.size)
    if image.size == (side, side):
        return image
    colour = tuple(int(255 * value) for value in mean)
    padded = Image.new("RGB", (side, side), colour)
    padded.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return padded
