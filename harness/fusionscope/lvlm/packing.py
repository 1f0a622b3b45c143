"""Whether several samples may share one row of a family's language model, and to which sample its images belong.

transformers keeps the samples of a row apart by position ids that begin again at 0, where there is no attention mask:
``sdpa`` and ``eager`` turn them into a block-diagonal causal mask in any number of rows, ``flash_attention_2`` and
``3`` into cumulative lengths, in a single row only (with more rows they would silently attend across samples).

Reference: ``find_packed_sequence_indices`` and ``_is_packed_sequence`` in transformers 5.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusionscope.errors import ConfigError

if TYPE_CHECKING:
    from fusionscope.lvlm.adapters import Adapter

PACKED_TOKENS = "packed_tokens"
"""Name of an int64 scalar in a packed batch: its tokens without padding. It is not for the model."""
TEXT_MODELS = frozenset({"llama", "mistral", "qwen2", "qwen3", "qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text"})
"""Types of language models whose packed loss and gradients the tests compare with the padded ones."""
_ROWS = ("sdpa", "eager")
_ONE_ROW = ("flash_attention_2", "flash_attention_3")
_LAYERS = frozenset({"full_attention", "sliding_attention"})


@dataclass(frozen=True, kw_only=True)
class ImageInputs:
    """To which sample the entries of a processor's tensors for images belong, along their first dimension.

    Args:
        per_image: One entry per image.
        per_sample: One entry per sample.
        per_token: As many entries per image token, whatever the image: patches, or tiles of one size.
    """

    per_image: tuple[str, ...] = ()
    per_sample: tuple[str, ...] = ()
    per_token: tuple[str, ...] = ()

    def image_inputs(self, model_type: str) -> "ImageInputs":
        """Itself: samples of the family may share a row."""
        return self


@dataclass(frozen=True, kw_only=True)
class CannotPack:
    """The samples of a family cannot share a row.

    Args:
        reason: Why not.
    """

    reason: str

    def image_inputs(self, model_type: str) -> ImageInputs:
        """None: refuses.

        Raises:
            ConfigError: Always, with the reason.
        """
        raise ConfigError(f"packing with a model of type {model_type!r}", self.reason, "set data.packing to false")


@dataclass(frozen=True, kw_only=True)
class PackedRows:
    """What a collator needs to know of a model to pack samples for it.

    Args:
        inputs: Where the images' tensors belong.
        image_token_id: The id at whose positions image embeddings are put.
        pad_id: What stands after a row's last sample.
        one_row: Everything must lie in one row, because the attention keeps samples apart in no other.
    """

    inputs: ImageInputs
    image_token_id: int
    pad_id: int
    one_row: bool


def packed_rows(adapter: "Adapter") -> PackedRows:
    """How to pack for a model.

    Args:
        adapter: The model's adapter.

    Raises:
        ConfigError: The family, its language model or its attention cannot keep samples apart, or nobody has shown that
            it can.
    """
    family = adapter.model.config.model_type
    inputs = adapter.family.packing.image_inputs(family)
    text = adapter.text_config
    kinds = set(getattr(text, "layer_types", None) or ())
    if text.model_type not in TEXT_MODELS or not kinds <= _LAYERS:
        raise ConfigError(
            f"packing with a {family!r} over the language model {text.model_type!r}"
            + (f" with layers of kind {', '.join(sorted(kinds - _LAYERS))}" if kinds - _LAYERS else ""),
            f"that its layers keep samples of one row apart is known of {', '.join(sorted(TEXT_MODELS))} alone "
            "(recurrent and convolutional layers do not)",
            "set data.packing to false",
        )
    attention = text._attn_implementation
    if attention not in (*_ROWS, *_ONE_ROW):
        raise ConfigError(
            f"packing with attention={attention!r}",
            f"that samples of one row are kept apart is known of {', '.join((*_ROWS, *_ONE_ROW))}",
            "set model.attention to one of these, or data.packing to false",
        )
    return PackedRows(
        inputs=inputs,
        image_token_id=adapter.image_token_id,
        pad_id=adapter.pad_id,
        one_row=attention in _ONE_ROW,
    )
