"""A byte-level tokenizer for miniatures: any text, no downloads."""

from collections.abc import Sequence
from typing import Any


def tokenizer(specials: Sequence[str], *, bos: str | None = None, template: str | None = None) -> Any:
    """A byte-level tokenizer with a family's special tokens; common answers are one token each.

    Args:
        specials: The special tokens besides ``<pad>``, in the order of their ids.
        bos: The start token, which it then adds.
        template: A chat template.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(letters)}
    merges = [("Ġ", letter) for letter in "ABCDE"] + [("y", "e"), ("ye", "s"), ("n", "o")]
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in ["<pad>", *specials]])
    if bos is not None:
        core.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, core.token_to_id(bos))]
        )
    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token=bos,
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )
