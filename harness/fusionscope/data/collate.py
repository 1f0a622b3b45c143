"""From conversations to a padded batch whose labels cover assistant text and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from fusionscope.data.conversation import Conversation, Turn, parse
from fusionscope.data.templates import TemplateName, render
from fusionscope.errors import BadImageError, ConfigError, DataError, FusionscopeError, MissingDependencyError
from fusionscope.lvlm import PROCESSOR_ERRORS, Encoded, Family, Rendered
from fusionscope.tasks import open_image

IGNORE = -100


class Collator:
    """Turn LLaVA rows into model inputs and labels.

    The family's encoder expands image placeholders and tokenizes; it also says which characters each token covers, and
    that alone decides the labels. A token is supervised where it overlaps assistant text; what it covers besides may
    only be white space (tokenizers glue a leading blank to a word), which every sample is checked for. A trial sample
    is collated at once, so that what the processor lacks is reported before training.

    Args:
        processor: The model's processor, with a fast tokenizer.
        template: ``"plain"``, ``"v1"`` or ``"chat"`` (`fusionscope.data.templates.render`).
        max_length: Longer samples are cut at their end; image tokens are never cut.
        require_image: Add a black image without supervised tokens to a batch without any image. Ranks synchronise in
            vision tower and projector, which a batch of texts alone would leave out (LLaVA does the same). Always on
            for families whose forward takes no batch without an image, such as InstructBLIP.
        pad_to_square: Pad images to squares with the processor's mean colour, as LLaVA-1.5 does in stage 2.
        family: The family of the model that the processor belongs to: ``lvlm.family``, or
            `fusionscope.lvlm.family_of`.

    Raises:
        ConfigError: The tokenizer is not a fast one, or processor and template do not make a sample with an image.
        MissingDependencyError: The model's own processor could not be loaded as a whole, or cannot run here.
    """

    def __init__(
        self,
        processor: Any,
        template: TemplateName = "chat",
        max_length: int = 2048,
        pad_to_square: bool = False,
        require_image: bool = False,
        *,
        family: Family,
    ) -> None:
        _check(processor)
        self.processor = processor
        self.template = template
        self.max_length = max_length
        self.pad_to_square = pad_to_square
        self.form = family.prompt
        self.encode = family.encoder(processor, family)
        self.require_image = require_image or self.encode.needs_image
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
        if self.require_image and not any(conversation.images for conversation in conversations):
            conversations.append(self._blank())
        try:
            encoded = self._encoded(conversations)
        except FusionscopeError:
            raise
        except PROCESSOR_ERRORS as error:
            raise self._refusal(conversations, error) from error
        names = [conversation.id for conversation in conversations]
        batch = self._cut(self._labelled(encoded, names), names, [rendered.text for rendered in encoded.rendered])
        batch["labels"][len(rows) :] = IGNORE  # the black image's row, if there is one
        return batch

    def _encoded(self, conversations: Sequence[Conversation]) -> Encoded:
        rendered = [render(sample, self.template, self.processor, self.form) for sample in conversations]
        mark = self.form.image_text
        for conversation, sample in zip(conversations, rendered, strict=True):
            marks = sample.text.count(mark)
            if marks != len(conversation.images):
                raise DataError(
                    f"sample {conversation.id!r} has {len(conversation.images)} images and {marks} "
                    f"marks {mark!r}: {sample.text[:400]!r}",
                    "each mark becomes an image",
                    f"keep {mark!r} out of the sample's words, and use a chat template that writes it once per image",
                )
        images = [
            [self._image(image, f"{name} of sample {conversation.id}") for name, image in conversation.named_images()]
            for conversation in conversations
        ]
        return self.encode(rendered, images)

    def _refusal(self, conversations: Sequence[Conversation], error: Exception) -> DataError:
        """What to say where the processor refuses a batch: which sample it refuses alone, and which images it has."""
        processor = type(self.processor).__name__
        for sample in conversations:
            try:
                self._encoded([sample])
            except FusionscopeError:
                raise
            except PROCESSOR_ERRORS as alone:
                sizes = [f"{name} ({image.width} x {image.height})" for name, image in sample.named_images()]
                kind = BadImageError if sizes else DataError
                return kind(
                    f"sample {sample.id!r} with images {', '.join(sizes) or 'none'} is refused: {alone}",
                    f"{processor} cannot prepare it",
                    "leave the sample out, or allow a few to be skipped (max_bad_images)",
                )
        names = ", ".join(sample.id for sample in conversations)
        return DataError(f"samples {names} cannot be prepared together: {error}", f"by {processor}", "report this")

    def _labelled(self, encoded: Encoded, ids: Sequence[str]) -> dict[str, Any]:
        batch = encoded.inputs
        labels = torch.full_like(batch["input_ids"], IGNORE)
        parts = zip(encoded.rendered, encoded.offsets, encoded.replaced, ids, strict=True)
        for i, (rendered, offsets, replaced, name) in enumerate(parts):
            mask = supervised(rendered, offsets, replaced, name)
            mask_T = torch.tensor(mask) & batch["attention_mask"][i].bool()
            labels[i][mask_T] = batch["input_ids"][i][mask_T]
        return {**batch, "labels": labels}

    def _try(self) -> None:
        """Collate a sample with an image.

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
                f"{name} cannot prepare a sample with an image",
                f"{type(error).__name__}: {error}",
                "load the processor of the model's own checkpoint; with a template of another one, pass template=",
            ) from error

    def _blank(self) -> Conversation:
        crop = getattr(self.processor.image_processor, "crop_size", None) or {}
        image = Image.new("RGB", (int(crop.get("width", 336)), int(crop.get("height", 336))))
        turns = (Turn(role="user", text="", images=1), Turn(role="assistant", text="."))
        return Conversation(id="blank", turns=turns, images=(image,))

    def _image(self, image: Any, name: str) -> Any:
        image = open_image(image, name)
        return square(image, self.processor.image_processor.image_mean) if self.pad_to_square else image

    def _cut(self, batch: dict[str, Any], ids: list[str], texts: list[str]) -> dict[str, Any]:
        length = batch["input_ids"].shape[1]
        if length > self.max_length:
            image_ids = torch.tensor(self._image_ids())
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
                    f"sample {name!r} has no supervised token: {text[:400]!r}",
                    f"every label is ignored within max_length={self.max_length}; its loss would be a silent zero",
                    "check the template and the tokenizer, raise max_length, or drop the sample",
                )
        return batch

    def _image_ids(self) -> list[int]:
        """Ids of the tokens that make up an image: the placeholder's, what it becomes, what the processor counts to it.

        Gemma 3's placeholder is another token than those it becomes; Fuyu counts the ends of rows.
        """
        texts = (self.form.image_text, self.form.token)
        ids = [self.processor.tokenizer.convert_tokens_to_ids(text) for text in texts]
        return [int(token) for token in (*ids, *self.processor.image_token_ids) if token is not None]


def _check(processor: Any) -> None:
    """Raise unless the processor is whole and its tokenizer returns offsets."""
    if not processor.tokenizer.is_fast:
        raise ConfigError(
            f"{type(processor.tokenizer).__name__} is not a fast tokenizer",
            "labels are made from the characters that each token covers, which slow ones don't return",
            "load the processor with use_fast=True",
        )
    if not callable(processor):
        reason = getattr(processor, "reason", "")
        raise MissingDependencyError(
            f"{type(processor).__name__} holds a processor's parts",
            "training data is prepared by the model's own processor, which did not load as a whole here (probing does "
            f"without){': ' + reason if reason else '; mostly, its part for videos misses torchvision'}",
            "pip install what it names (for most, a torchvision that matches torch), or complete the directory with "
            "the files of the model's own checkpoint",
        )


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
            "it can neither be supervised nor left out",
            "use a template that sets the assistant's text off with a blank, a newline or a special token",
        )
    return True


def _shifted(position: int, replaced: Sequence[Mapping[str, Any]]) -> int:
    before = [expansion for expansion in replaced if expansion["span"][1] <= position]
    lengths = [[expansion[key][1] - expansion[key][0] for key in ("span", "new_span")] for expansion in before]
    return position + sum(int(new - old) for old, new in lengths)


def _expanded(text: str, replaced: Sequence[Mapping[str, Any]]) -> str:
    pieces: list[str] = []
    last = 0
    for expansion in replaced:
        pieces += [text[last : expansion["span"][0]], expansion["replacement"]]
        last = expansion["span"][1]
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
