"""Random-weight miniatures of every family, built offline: for tests, benchmarks and trying an adapter.

They have the architecture of the real models and nothing else: widths of a few dozen, a byte-level tokenizer, no
knowledge. Where a family ignores the image at initialisation (zero gates or queries), those weights are drawn too.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from fusionscope.errors import UnknownNameError

IMAGE_SIZE, PATCH = 32, 8
_BUILDERS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {}


def names() -> tuple[str, ...]:
    """Model types that `build` knows."""
    return tuple(sorted(_BUILDERS))


def build(model_type: str, seed: int = 0) -> tuple[nn.Module, Any]:
    """A tiny model and its processor; the caller's random state is left as found.

    Args:
        model_type: One of `names`.
        seed: Seed of the weights.

    Raises:
        UnknownNameError: No miniature of this type.
    """
    if model_type not in _BUILDERS:
        raise UnknownNameError(f"miniature {model_type!r}", f"there are {', '.join(names())}", "use one of them")
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        model, processor = _BUILDERS[model_type]()
        return model.eval(), processor


def tokenizer(specials: Sequence[str], *, bos: str | None = None, template: str | None = None) -> Any:
    """A byte-level tokenizer with a family's special tokens; common answers are one token each."""
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
    core.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in ["<pad>", *specials]])
    if bos is not None:
        core.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, core.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token=bos,
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )


def builder(*model_types: str) -> Callable[[Callable[[], tuple[nn.Module, Any]]], Callable[[], tuple[nn.Module, Any]]]:
    """Decorator: this function builds these miniatures."""

    def note(function: Callable[[], tuple[nn.Module, Any]]) -> Callable[[], tuple[nn.Module, Any]]:
        _BUILDERS.update(dict.fromkeys(model_types, function))
        return function

    return note


LLAVA_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""The template of llava-hf/llava-1.5-7b-hf, without its training-only marks."""


def _clip() -> Any:
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, image_size=IMAGE_SIZE,
        patch_size=PATCH, projection_dim=32,
    )  # fmt: skip


def _llama(words: Any, **changes: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        **{
            "vocab_size": len(words), "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2, "pad_token_id": 0,
            "bos_token_id": None, "eos_token_id": None,
        }
        | changes
    )  # fmt: skip


def _clip_images() -> Any:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    )


@builder("llava")
def _llava() -> tuple[nn.Module, Any]:
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    words = tokenizer(["<s>", "</s>", "<image>"], bos="<s>", template=LLAVA_TEMPLATE)
    config = LlavaConfig(
        vision_config=_clip(), text_config=_llama(words), image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="default", vision_feature_layer=-2,
    )  # fmt: skip
    processor = LlavaProcessor(
        image_processor=_clip_images(), tokenizer=words, patch_size=PATCH, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=LLAVA_TEMPLATE,
    )  # fmt: skip
    return LlavaForConditionalGeneration(config), processor
