"""A word-level tokenizer that needs no download, with the chat template of the sandbox."""

from collections.abc import Sequence

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from fusionscope.sandbox.world import BACKGROUNDS, COLOURS, LETTERS, NOUNS, SHAPES

SPECIAL = ("<pad>", "</s>", "<unk>", "<image>")
GRAMMAR = (
    "user", "assistant", ":", "scene", ".", "?", "what", "colour", "is", "the", "a", "background", "lies", "behind",
    "shapes", "hint", "describe", "picture", "list", "nothing",
)  # fmt: skip

# The template of LLaVA-1.5 with this world's words: images first, then the text, then the answer and the end sign.
# `generation` marks what the assistant says, so labels can be made from the template alone.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'] + ' : ' }}"
    "{% if message['content'] is string %}"
    "{% set images, text = 0, message['content'] %}"
    "{% else %}"
    "{% set images = message['content'] | selectattr('type', 'equalto', 'image') | list | length %}"
    "{% set text = message['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join(' ') %}"
    "{% endif %}"
    "{% for _ in range(images) %}{{ 'scene <image> . ' }}{% endfor %}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ text + ' </s>' }}{% endgeneration %}"
    "{% else %}{{ text + ' ' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant :' }}{% endif %}"
)


def vocabulary() -> tuple[str, ...]:
    """Every word of the world, special tokens first; an object such as ``red-circle`` is one word."""
    objects = tuple(f"{colour}-{shape}" for colour in COLOURS for shape in SHAPES)
    return SPECIAL + GRAMMAR + LETTERS + COLOURS + BACKGROUNDS + SHAPES + tuple(NOUNS) + objects


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer; the same on every call.

    Returns:
        A fast tokenizer that pads on the right, emits no ``token_type_ids`` (LLaVA accepts none) and carries the chat
        template.

    >>> build_tokenizer().tokenize("what colour is the circle ?")
    ['what', 'colour', 'is', 'the', 'circle', '?']
    """
    return word_tokenizer(vocabulary(), pre_tokenizers.WhitespaceSplit())


def word_tokenizer(words: Sequence[str], splitter: pre_tokenizers.PreTokenizer) -> PreTrainedTokenizerFast:
    """A word-level tokenizer with the special tokens and the chat template of a miniature.

    Args:
        words: The vocabulary in the order of its ids, `SPECIAL` included.
        splitter: What takes a text apart into words.
    """
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = splitter
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        model_input_names=["input_ids", "attention_mask"],
        padding_side="right",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
