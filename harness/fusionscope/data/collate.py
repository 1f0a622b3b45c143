"""From conversations to a padded batch whose labels cover assistant text and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from fusionscope.data.conversation import Conversation, Turn, parse
from fusionscope.data.encode import encoder_for
from fusionscope.data.templates import Encoded, Rendered, TemplateName, image_token, render
from fusionscope.errors import ConfigError, DataError, FusionscopeError, MissingDependencyError
from fusionscope.tasks import open_image

IGNORE = -100


class Collator:
    """Turn LLaVA rows into model inputs and labels.

    The processor expands image placeholders and tokenizes (`fusionscope.data.encode`); it also says which characters
    each token covers, and that alone decides the labels. A token is supervised where it overlaps assistant text; what
    it covers besides may only be white space (tokenizers glue a leading blank to a word), which every sample is checked
    for. A trial sample is collated at once, so that what the processor lacks is told before training.

    Args:
        processor: The model's processor, with a fast tokenizer.
        template: ``"plain"``, ``"v1"`` or ``"chat"`` (`fusionscope.data.templates.render`).
        max_length: Longer samples are cut at their end; image tokens are never cut.
        always_look: Add a black picture with nothing to learn to a batch without any image. Ranks wait for each other
            in vision tower and projector, which a batch of texts alone would leave out (LLaVA does the same). Always
            on for InstructBLIP, whose forward takes no batch without a picture.
        pad_to_square: Pad images to squares with the processor's mean colour, as LLaVA-1.5 does in stage 2.

    Raises:
        ConfigError: The tokenizer is not a fast one, or processor and template do not make a sample with a picture.
        MissingDependencyError: The model's own processor could not be loaded as a whole, or cannot run here.
    """

    def __init__(
        self,
        processor: Any,
        template: TemplateName = "chat",
        max_length: int = 2048,
        pad_to_square: bool = False,
        always_look: bool = False,
    ) -> None:
        _check(processor)
        self.processor, self.template, self.max_length = processor, template, max_length
        self.encode = encoder_for(processor)
        self.pad_to_square, self.always_look = pad_to_square, always_look or self.encode.needs_image
        self._try()

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Collate.

        Args:
            rows: LLaVA rows with opened images.

        Returns:
            The model's inputs, right-padded, and ``labels`` int64 [B, T], -100 outside assistant text.

        Raises:
            DataError: A sample has no supervised token, a token crosses the border of the assistant's text, a text
                mentions an image that is not there, or images do not fit into ``max_length``.
        """
        conversations = [parse(row) for row in rows]
        if self.always_look and not any(conversation.images for conversation in conversations):
            conversations.append(self._blank())
        encoded = self._encoded(conversations)
        batch = self._labelled(encoded, [one.id for one in conversations])
        done = self._cut(batch, [one.id for one in conversations], [one.text for one in encoded.rendered])
        done["labels"][len(rows) :] = IGNORE  # the black picture's row, if there is one
        return done

    def _encoded(self, conversations: Sequence[Conversation]) -> Encoded:
        rendered = [render(one, self.template, self.processor) for one in conversations]
        mark = image_token(self.processor)
        for conversation, one in zip(conversations, rendered, strict=True):
            if one.text.count(mark) != len(conversation.images):
                raise DataError(
                    f"sample {conversation.id!r} has {len(conversation.images)} images and {one.text.count(mark)} "
                    f"marks {mark!r}: {one.text[:400]!r}",
                    "each mark becomes an image",
                    f"keep {mark!r} out of the sample's words, and use a chat template that writes it once per image",
                )
        images = [[self._image(image, f"of sample {one.id}") for image in one.images] for one in conversations]
        return self.encode(rendered, images)

    def _labelled(self, encoded: Encoded, ids: Sequence[str]) -> dict[str, Any]:
        batch = encoded.inputs
        labels = torch.full_like(batch["input_ids"], IGNORE)
        parts = zip(encoded.rendered, encoded.offsets, encoded.replaced, ids, strict=True)
        for i, (one, offsets, replaced, name) in enumerate(parts):
            mask = supervised(one, offsets, replaced, name)
            mask_T = torch.tensor(mask) & batch["attention_mask"][i].bool()
            labels[i][mask_T] = batch["input_ids"][i][mask_T]
        return {**batch, "labels": labels}

    def _try(self) -> None:
        """Collate a sample with a picture.

        Raises:
            ConfigError: The processor fails.
            MissingDependencyError: It needs a package that is not installed.
        """
        name = type(self.processor).__name__
        try:
            self._labelled(self._encoded([self._blank()]), ["blank"])
        except FusionscopeError:
            raise
        except ImportError as error:
            raise MissingDependencyError(
                f"{name} cannot prepare training data here", str(error).strip(), "install what it names"
            ) from error
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{name} cannot prepare a sample with a picture",
                f"{type(error).__name__}: {error}",
                "load the processor of the model's own checkpoint; with a template of another one, pass template=",
            ) from error

    def _blank(self) -> Conversation:
        crop = getattr(self.processor.image_processor, "crop_size", None) or {}
        picture = Image.new("RGB", (int(crop.get("width", 336)), int(crop.get("height", 336))))
        turns = (Turn(role="user", text="", images=1), Turn(role="assistant", text="."))
        return Conversation(id="blank", turns=turns, images=(picture,))

    def _image(self, image: Any, name: str) -> Any:
        image = open_image(image, name)
        return square(image, self.processor.image_processor.image_mean) if self.pad_to_square else image

    def _cut(self, batch: dict[str, Any], ids: list[str], texts: list[str]) -> dict[str, Any]:
        length = batch["input_ids"].shape[1]
        if length > self.max_length:
            image_ids = torch.tensor(_image_ids(self.processor))
            if bool(torch.isin(batch["input_ids"][:, self.max_length :], image_ids).any()):
                raise DataError(
                    f"a sample of {ids} has image tokens after position {self.max_length}",
                    "half an image cannot be shown",
                    "raise max_length",
                )
            batch = {
                key: value[:, : self.max_length]
                if value.shape[:2] == (len(ids), length) and not key.startswith("qformer_")
                else value
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


def _check(processor: Any) -> None:
    """Raise unless the processor is whole and its tokenizer tells offsets."""
    if not processor.tokenizer.is_fast:
        raise ConfigError(
            f"{type(processor.tokenizer).__name__} is not a fast tokenizer",
            "labels are made from the characters that each token covers, which slow ones don't tell",
            "load the processor with use_fast=True",
        )
    if not callable(processor):
        reason = getattr(processor, "reason", "")
        raise MissingDependencyError(
            f"{type(processor).__name__} holds a processor's parts",
            "training data is prepared by the model's own processor, which did not load as a whole here (probing does "
            f"without){': ' + reason if reason else '; mostly, its part for videos misses torchvision'}",
            "pip install what it names (a torchvision that matches torch; num2words for SmolVLM), or complete the "
            "directory with the files of the model's own checkpoint",
        )


def _image_ids(processor: Any) -> list[int]:
    """Ids of the tokens that make up an image; Gemma 3's differ from that of the placeholder."""
    words = processor.tokenizer
    found = [words.convert_tokens_to_ids(image_token(processor)), getattr(words, "image_token_id", None)]
    return [int(one) for one in (*found, *getattr(processor, "image_token_ids", ())) if one is not None]


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
