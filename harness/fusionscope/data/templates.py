"""Conversation templates: from turns to one string and the spans of it that are supervised."""

import re
from collections.abc import Callable
from typing import Any, Literal, cast, get_args

from transformers.utils.chat_template_utils import render_jinja_template

from fusionscope.data.conversation import Conversation, Turn
from fusionscope.errors import ConfigError, DataError
from fusionscope.lvlm import PromptForm, Rendered

TemplateName = Literal["plain", "v1", "chat"]

# Vicuna's system prompt, as in LLaVA's conversation.py (conv_vicuna_v1)
V1_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


def render(conversation: Conversation, template: TemplateName, processor: Any, form: PromptForm) -> Rendered:
    """Write a conversation out.

    Args:
        conversation: The conversation.
        template: ``"plain"``: images, caption, newline; the user's words are dropped (LLaVA's stage 1). ``"v1"``:
            Vicuna's dialogue (LLaVA-1.5's stage 2), a sample's system turn in place of Vicuna's. ``"chat"``: the
            model's own chat template; for families whose checkpoints have none, the form of the prompts that they were
            trained on.
        processor: The model's processor.
        form: How the model's family writes its prompts.

    Raises:
        ConfigError: An unknown template, or no chat template where one is needed.
        DataError: The conversation does not fit the template.
    """
    if template not in _TEMPLATES:
        raise ConfigError(
            f"template={template!r}", f"it is one of {', '.join(get_args(TemplateName))}", "use one of these"
        )
    return _TEMPLATES[template](conversation, processor, form)


def _plain(conversation: Conversation, processor: Any, form: PromptForm) -> Rendered:
    if len(conversation.turns) != 2 or not conversation.images:
        raise DataError(
            f"sample {conversation.id!r} has {len(conversation.turns)} turns and {len(conversation.images)} images",
            "the template 'plain' is for captions: one image, one answer",
            "use the template 'v1' or 'chat'",
        )
    if conversation.system is not None:
        raise DataError(
            f"sample {conversation.id!r} has a system turn",
            "the template 'plain' has no place for it, as it has none for the user's words",
            "use the template 'v1' or 'chat'",
        )
    head = form.image_text * len(conversation.images)
    text = head + conversation.turns[1].text + "\n"
    return Rendered(text=text, spans=((len(head), len(text)),))


def _v1(conversation: Conversation, processor: Any, form: PromptForm) -> Rendered:
    end: str | None = processor.tokenizer.eos_token
    if end is None:
        raise _no_end("v1", "set it, or use the template 'chat'")
    text = (V1_SYSTEM if conversation.system is None else conversation.system) + " "
    spans = []
    for turn in conversation.turns:
        if turn.role == "user":
            shown = (form.image_text + "\n") * turn.images + turn.text
            text += f"USER: {shown.strip() if turn.images else shown} "
        else:
            start = len(text) + len("ASSISTANT: ")
            text += f"ASSISTANT: {turn.text}{end}"
            spans.append((start, len(text)))
    return Rendered(text=text, spans=tuple(spans))


def _no_end(template: TemplateName, fix: str) -> ConfigError:
    return ConfigError(f"template={template!r}", "the tokenizer has no eos_token, which ends each answer", fix)


def _chat(conversation: Conversation, processor: Any, form: PromptForm) -> Rendered:
    template = _chat_template(processor, form)
    system = [] if conversation.system is None else [_said("system", conversation.system)]
    messages = [*system, *(_message(turn) for turn in conversation.turns)]
    tokens = dict(processor.tokenizer.special_tokens_map)
    marked = re.search(r"\{%-?\s*generation\s*-?%\}", template) is not None
    rendered = _by_marks if marked else _by_prefixes
    return _checked(conversation, rendered(messages, template, tokens))


def _chat_template(processor: Any, form: PromptForm) -> str:
    """The checkpoint's, or the form of the prompts that the family was trained on, where checkpoints have none.

    Raises:
        ConfigError: There is neither, or no end token for the family's form.
    """
    template = getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)
    if template:
        return str(template)
    if form.template is None:
        raise ConfigError(
            "template='chat'", f"{type(processor).__name__} has no chat template", "use the template 'v1' or 'plain'"
        )
    if processor.tokenizer.eos_token is None:
        raise _no_end("chat", "set it")
    return form.template


def _message(turn: Turn) -> dict[str, Any]:
    images: list[dict[str, str]] = [{"type": "image"}] * turn.images
    return {"role": turn.role, "content": [*images, {"type": "text", "text": turn.text}]}


def _said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _by_marks(messages: list[dict[str, Any]], template: str, tokens: dict[str, Any]) -> Rendered:
    texts, marks = _render([messages], chat_template=template, return_assistant_tokens_mask=True, **tokens)
    return Rendered(text=texts[0], spans=tuple((start, end) for start, end in marks[0]))


def _render(
    conversations: list[list[dict[str, Any]]], **settings: Any
) -> tuple[list[str], list[list[tuple[int, int]]]]:
    """What transformers writes, with its real type: it is annotated as str."""
    texts, marks = cast(Any, render_jinja_template(conversations, **settings))
    return texts, marks


def _by_prefixes(messages: list[dict[str, Any]], template: str, tokens: dict[str, Any]) -> Rendered:
    """What the template adds between the assistant's header and the end of its turn."""

    def write(some: list[dict[str, Any]], header: bool = False) -> str:
        texts, _ = _render([some], chat_template=template, add_generation_prompt=header, **tokens)
        return str(texts[0])

    full = write(messages)
    spans = []
    for i in (i for i, message in enumerate(messages) if message["role"] == "assistant"):
        before = write(messages[:i], header=True)
        after = write(messages[: i + 1])
        if not full.startswith(before):  # LLaVA-OneVision's template announces an answer otherwise than it writes it
            before = _common(after, write([*messages[:i], _other(messages[i])]))
        if not full.startswith(before) or not full.startswith(after.rstrip()):
            raise DataError(
                f"the chat template writes turn {i} differently when others follow: {after[-80:]!r}",
                "which part is the assistant's is then not known",
                "use a template with {% generation %} marks, or single-turn conversations",
            )
        spans.append((len(before), len(after.rstrip())))
    return Rendered(text=full, spans=tuple(spans))


def _other(message: dict[str, Any]) -> dict[str, Any]:
    """The same turn with a text that begins otherwise."""
    said = message["content"][-1]["text"].lstrip()
    return {**message, "content": [{"type": "text", "text": "1" if said.startswith("0") else "0"}]}


def _common(text: str, other: str) -> str:
    """The beginning that two strings have in common.

    >>> _common("abc", "abd")
    'ab'
    """
    differing = (i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b)
    return text[: next(differing, min(len(text), len(other)))]


def _checked(conversation: Conversation, rendered: Rendered) -> Rendered:
    system = conversation.system
    if system is not None and (
        system.strip() not in rendered.text or repr(_said("system", system)["content"]) in rendered.text
    ):
        raise DataError(
            f"sample {conversation.id!r}: the chat template does not write the system turn {system[:80]!r}",
            "it would be trained without what it answers to",
            "use a template that writes system turns, the template 'v1', or leave the sample out",
        )
    said = [turn.text for turn in conversation.turns if turn.role == "assistant"]
    marked = [rendered.text[start:end] for start, end in rendered.spans]
    if len(said) != len(marked) or any(text.strip() not in span for text, span in zip(said, marked, strict=True)):
        raise DataError(
            f"sample {conversation.id!r}: the chat template marks {marked} as said by the assistant, who says {said}",
            "other text would be supervised",
            "correct the chat template, or use the template 'v1'",
        )
    return rendered


_TEMPLATES: dict[str, Callable[[Conversation, Any, PromptForm], Rendered]] = {
    "plain": _plain,
    "v1": _v1,
    "chat": _chat,
}
