"""From a question to token ids: the chat template, the image's place, the question's span, the candidates' tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fusionscope.errors import InputError

IMAGE = -1
"""Stands in a prompt's ids for all tokens that an image becomes."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A conversation up to the place where the model answers.

    Args:
        text: The user's turn.
        ids: Token ids; `IMAGE` once where the image enters.
        candidates: Token ids of each candidate as they follow ``ids``.
    """

    text: str
    ids: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class PromptForm:
    """How the conversations of a family are written out.

    Args:
        image_text: What the chat template writes where an image enters, and what stands for one image in the input of
            the family's processor.
        image_frame: What the processor puts in its place before it tokenizes; the same if empty.
        image_token: The token of the frame that stands for the image itself; ``image_text`` if empty.
        template: The form of the prompts that the family was trained on, as a chat template, where its checkpoints have
            none. What the assistant says, the end token included, stands between ``{% generation %}`` marks.
        image_first: Images come first, and the text is tokenized as a text of its own.
    """

    image_text: str = "<image>"
    image_frame: str = ""
    image_token: str = ""
    template: str | None = None
    image_first: bool = False

    @property
    def frame(self) -> str:
        """What is tokenized in the place of ``image_text``."""
        return self.image_frame or self.image_text

    @property
    def token(self) -> str:
        """The token that stands once for the image in `frame`."""
        return self.image_token or self.image_text


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A tokenizer, a chat template and how the image is marked in it.

    Args:
        tokenizer: A transformers tokenizer.
        template: The chat template (Jinja).
        form: How the family writes its prompts.
        image_id: The id of the form's token for the image.
    """

    tokenizer: Any
    template: str
    form: PromptForm
    image_id: int

    def render(self, text: str, answer: str | None = None) -> str:
        """The conversation as a string: up to the answer, or with the answer given."""
        content: list[dict[str, str]] = [{"type": "image"}, {"type": "text", "text": text}]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if answer is not None:
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        rendered: str = self.tokenizer.apply_chat_template(
            messages, chat_template=self.template, tokenize=False, add_generation_prompt=answer is None
        )
        return rendered

    def encode(self, rendered: str) -> list[int]:
        """Token ids with `IMAGE` for the image; the start token is not doubled where the template writes it."""
        self._check_image(rendered)
        if self.form.image_first:
            return [IMAGE, *self._tokens(rendered.removeprefix(self.form.image_text))["input_ids"]]
        ids = self._tokens(self._framed(rendered))["input_ids"]
        return [IMAGE if token == self.image_id else int(token) for token in ids]

    def prompt(self, text: str, candidates: Sequence[str]) -> Prompt:
        """Tokens of a question and of what may follow it.

        Args:
            text: The user's turn without the image.
            candidates: What the model may answer.

        Raises:
            InputError: The template does not write the image exactly once, or a candidate has no tokens of its own.
        """
        rendered = self.render(text)
        opened = rendered + self.joint(candidates[0])
        ids = self.encode(opened)
        full = [self.encode(opened + candidate) for candidate in candidates]
        # A blank before the answer may belong to the answer's first token: then the prompt ends before it.
        keep = min([len(ids), *(_common(ids, other) for other in full)])
        tails = tuple(tuple(other[keep:]) for other in full)
        for candidate, tail in zip(candidates, tails, strict=True):
            if not tail:
                raise InputError(
                    f"candidate {candidate!r} adds no token to the prompt",
                    "a candidate needs at least one token to be scored",
                    "check the candidate for blanks, and the tokenizer for how it strips them",
                )
        return Prompt(text=text, ids=tuple(ids[:keep]), candidates=tails)

    def joint(self, answer: str) -> str:
        """What the template writes between the generation prompt and an answer: a blank, or nothing."""
        answered, opened = self.render("", answer), self.render("")
        rest = answered[len(opened) :] if answered.startswith(opened) else ""
        before, said, _ = rest.partition(answer.strip())
        return before if said and not before.strip() else ""

    def _tokens(self, text: str, **settings: Any) -> Any:
        start = self.tokenizer.bos_token
        written = bool(start) and text.startswith(start)
        return self.tokenizer(text, add_special_tokens=not written, **settings)

    def _framed(self, rendered: str) -> str:
        return rendered.replace(self.form.image_text, self.form.frame, 1)

    def _check_image(self, rendered: str) -> None:
        mark = self.form.image_text
        images = rendered.count(mark)
        if images != 1:
            raise InputError(
                f"{images} images in the conversation {_short(rendered)!r}",
                f"the probe asks about one image, which the template marks by {mark!r}",
                f"use a chat template that writes {mark!r} once for {{'type': 'image'}}, and keep it out of the "
                "question's text",
            )

    def span(self, text: str, part: str) -> tuple[int, int] | None:
        """Start and end (exclusive) in the ids of the prompt for ``text`` of one part of that text.

        None where the tokenizer reports no character offsets or the template does not write the part as it is.
        """
        rendered = self.render(text)
        body = rendered.removeprefix(self.form.image_text) if self.form.image_first else self._framed(rendered)
        start, before = body.find(part), int(self.form.image_first)
        if start < 0 or not part or not getattr(self.tokenizer, "is_fast", False):
            return None
        end = start + len(part)
        offsets = self._tokens(body, return_offsets_mapping=True)["offset_mapping"]
        inside = [i for i, (a, b) in enumerate(offsets) if a < end and b > start]
        return (inside[0] + before, inside[-1] + 1 + before) if inside else None


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading ids two sequences have in common."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def _short(text: str, limit: int = 160) -> str:
    return text if len(text) <= limit else text[: limit // 2] + " ... " + text[-limit // 2 :]


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """How many leading ids all sequences have in common, leaving at least one id to each.

    >>> common_prefix([(1, 2, 3), (1, 2, 4)])
    2
    >>> common_prefix([(1, 2), (1, 2)])
    1
    """
    first = sequences[0]
    return min(min(_common(first, other), len(other) - 1) for other in sequences)
