"""One builder per family."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn

from fusionscope.lvlm.processor import ComposedProcessor
from fusionscope.lvlm.tiny import templates
from fusionscope.lvlm.tiny.words import tokenizer

IMAGE_SIZE, PATCH = 32, 8
BUILDERS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {}
_DECODER: dict[str, Any] = {
    "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
_SIDES = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}


def _hf(name: str) -> Any:
    """A name of transformers, imported when a miniature needs it."""
    return getattr(import_module("transformers"), name)


def _pil(family: str, name: str) -> Any:
    """An image processor that needs no torchvision."""
    return getattr(import_module(f"transformers.models.{family}.image_processing_pil_{family}"), name)


def _builder(*model_types: str) -> Callable[[Callable[..., tuple[nn.Module, Any]]], Callable[..., Any]]:
    def note(function: Callable[..., tuple[nn.Module, Any]]) -> Callable[..., Any]:
        for model_type in model_types:
            BUILDERS[model_type] = partial(function, model_type) if len(model_types) > 1 else function
        return function

    return note


def _parts(words: Any, images: Any, **more: Any) -> ComposedProcessor:
    """A processor as the adapters need it: tokenizer, image processor, template."""
    return ComposedProcessor(tokenizer=words, image_processor=images, chat_template=words.chat_template, **more)


def _draw(values: Sequence[torch.Tensor], std: float = 0.5) -> None:
    """Weights that initialise to zero and would hide the image."""
    with torch.no_grad():
        for value in values:
            value.normal_(0, std)


def _vision(kind: str, **changes: Any) -> Any:
    config = _hf(kind)
    shape = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
        "image_size": IMAGE_SIZE, "patch_size": PATCH,
    }  # fmt: skip
    return config(**shape | changes)


def _decoder(kind: str, words: Any, **changes: Any) -> Any:
    return _hf(kind)(**{"vocab_size": len(words)} | _DECODER | changes)


def _rope(sections: Sequence[int]) -> dict[str, Any]:
    return {"rope_type": "default", "type": "default", "mrope_section": list(sections), "rope_theta": 10000.0}


@_builder("llava")
def _llava() -> tuple[nn.Module, Any]:
    words = tokenizer(["<s>", "</s>", "<image>"], bos="<s>", template=templates.LLAVA)
    config = _hf("LlavaConfig")(
        vision_config=_vision("CLIPVisionConfig", projection_dim=32), text_config=_decoder("LlamaConfig", words),
        image_token_index=words.convert_tokens_to_ids("<image>"), vision_feature_select_strategy="default",
        vision_feature_layer=-2,
    )  # fmt: skip
    processor = _hf("LlavaProcessor")(
        image_processor=_pil("clip", "CLIPImageProcessorPil")(size={"shortest_edge": IMAGE_SIZE}, crop_size=_SIDES),
        tokenizer=words, patch_size=PATCH, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=templates.LLAVA,
    )  # fmt: skip
    return _hf("LlavaForConditionalGeneration")(config), processor


@_builder("llava_next")
def _llava_next() -> tuple[nn.Module, Any]:
    words = tokenizer(["<s>", "</s>", "<image>"], bos="<s>", template=templates.LLAVA)
    grid = [[32, 64], [64, 32], [64, 64]]
    config = _hf("LlavaNextConfig")(
        vision_config=_vision("CLIPVisionConfig", projection_dim=32), text_config=_decoder("LlamaConfig", words),
        image_token_index=words.convert_tokens_to_ids("<image>"), image_grid_pinpoints=grid,
        vision_feature_select_strategy="default", vision_feature_layer=-2,
    )  # fmt: skip
    processor = _hf("LlavaNextProcessor")(
        image_processor=_pil("llava_next", "LlavaNextImageProcessorPil")(
            size={"shortest_edge": IMAGE_SIZE}, crop_size=_SIDES, image_grid_pinpoints=grid
        ),
        tokenizer=words, patch_size=PATCH, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=templates.LLAVA,
    )  # fmt: skip
    return _hf("LlavaNextForConditionalGeneration")(config), processor


@_builder("llava_onevision")
def _llava_onevision() -> tuple[nn.Module, Any]:
    words = tokenizer(["<|im_start|>", "<|im_end|>", "<image>", "<video>"], template=templates.CHATML)
    grid = [[32, 32], [32, 64], [64, 32], [64, 64]]
    config = _hf("LlavaOnevisionConfig")(
        vision_config=_vision("SiglipVisionConfig", vision_use_head=False), text_config=_decoder("Qwen2Config", words),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"), image_grid_pinpoints=grid,
        vision_feature_select_strategy="full", vision_feature_layer=-1,
    )  # fmt: skip
    images = _pil("llava_onevision", "LlavaOnevisionImageProcessorPil")(size=_SIDES, image_grid_pinpoints=grid)
    return _hf("LlavaOnevisionForConditionalGeneration")(config), _parts(words, images)


_QWEN_WORDS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]


def _qwen_ids(words: Any) -> dict[str, int]:
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    names |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    return {name: words.convert_tokens_to_ids(text) for name, text in names.items()}


def _qwen_images() -> Any:

    return _pil("qwen2_vl", "Qwen2VLImageProcessorPil")(
        patch_size=PATCH, merge_size=2, size={"shortest_edge": 16 * 16, "longest_edge": 48 * 48}
    )


@_builder("qwen2_vl")
def _qwen2_vl() -> tuple[nn.Module, Any]:
    words = tokenizer(_QWEN_WORDS, template=templates.QWEN)
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 48, "num_heads": 4, "mlp_ratio": 2, "patch_size": PATCH}
    text = _DECODER | {"vocab_size": len(words), "rope_parameters": _rope([2, 2, 2])}
    config = _hf("Qwen2VLConfig")(vision_config=vision, text_config=text, **_qwen_ids(words))
    return _hf("Qwen2VLForConditionalGeneration")(config), _parts(words, _qwen_images())


@_builder("qwen2_5_vl")
def _qwen2_5_vl() -> tuple[nn.Module, Any]:
    words = tokenizer(_QWEN_WORDS, template=templates.QWEN)
    vision = {
        "depth": 2, "hidden_size": 32, "out_hidden_size": 48, "num_heads": 4, "intermediate_size": 64,
        "patch_size": PATCH, "window_size": 32, "fullatt_block_indexes": [1],
    }  # fmt: skip
    text = _DECODER | {"vocab_size": len(words), "rope_parameters": _rope([2, 2, 2])}
    config = _hf("Qwen2_5_VLConfig")(vision_config=vision, text_config=text, **_qwen_ids(words))
    return _hf("Qwen2_5_VLForConditionalGeneration")(config), _parts(words, _qwen_images())


@_builder("qwen3_vl")
def _qwen3_vl() -> tuple[nn.Module, Any]:
    words = tokenizer(_QWEN_WORDS, template=templates.QWEN)
    vision = {
        "depth": 3, "hidden_size": 32, "out_hidden_size": 48, "num_heads": 4, "intermediate_size": 64,
        "patch_size": PATCH, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1],
    }  # fmt: skip
    text = _DECODER | {"vocab_size": len(words), "head_dim": 12, "rope_parameters": _rope([2, 2, 2])}
    config = _hf("Qwen3VLConfig")(vision_config=vision, text_config=text, **_qwen_ids(words))
    return _hf("Qwen3VLForConditionalGeneration")(config), _parts(words, _qwen_images())


@_builder("internvl")
def _internvl() -> tuple[nn.Module, Any]:
    words = tokenizer(
        ["<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"], template=templates.INTERNVL
    )
    vision = _hf("InternVLVisionConfig")(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        image_size=[IMAGE_SIZE, IMAGE_SIZE], patch_size=[PATCH, PATCH],
    )  # fmt: skip
    config = _hf("InternVLConfig")(
        vision_config=vision, text_config=_decoder("Qwen2Config", words),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"), downsample_ratio=0.5,
    )  # fmt: skip
    images = _pil("got_ocr2", "GotOcr2ImageProcessorPil")(
        size=_SIDES, crop_to_patches=True, min_patches=1, max_patches=4
    )
    return _hf("InternVLForConditionalGeneration")(config), _parts(words, images)


@_builder("mllama")
def _mllama() -> tuple[nn.Module, Any]:
    specials = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    words = tokenizer([*specials, "<|image|>"], bos="<|begin_of_text|>", template=templates.LLAMA)
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1,
        "attention_heads": 4, "image_size": IMAGE_SIZE, "patch_size": PATCH, "max_num_tiles": 4,
        "vision_output_dim": 64, "intermediate_layers_indices": [1], "supported_aspect_ratios": None,
    }  # fmt: skip
    vision["supported_aspect_ratios"] = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]
    # The image's own token lies beyond the head's vocabulary, as in the real model.
    text = _DECODER | {"vocab_size": len(words) - 1, "num_hidden_layers": 4, "cross_attention_layers": [1, 3]}
    text |= {"bos_token_id": 0, "eos_token_id": 0}
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0}
    config = _hf("MllamaConfig")(
        vision_config=vision, text_config=text, image_token_index=words.convert_tokens_to_ids("<|image|>")
    )
    model = _hf("MllamaForConditionalGeneration")(config)
    gates = [value for name, value in model.named_parameters() if "gate" in name and "mlp.gate_proj" not in name]
    _draw(gates)
    processor = _hf("MllamaProcessor")(
        image_processor=_pil("mllama", "MllamaImageProcessorPil")(size=_SIDES, max_image_tiles=4), tokenizer=words,
        chat_template=templates.LLAMA,
    )  # fmt: skip
    return model, processor


@_builder("instructblip")
def _instructblip() -> tuple[nn.Module, Any]:
    words = tokenizer(["<s>", "</s>", "<image>"], bos="<s>")
    readers = tokenizer(["[CLS]"], bos="[CLS]")
    qformer = {
        "vocab_size": len(readers), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "encoder_hidden_size": 32, "cross_attention_frequency": 1,
        "initializer_range": 0.3,
    }  # fmt: skip
    vision = _vision("InstructBlipVisionConfig", initializer_range=0.1).to_dict()
    config = _hf("InstructBlipConfig")(
        vision_config=vision, qformer_config=qformer, text_config=_decoder("LlamaConfig", words).to_dict(),
        num_query_tokens=5, image_token_index=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    model = _hf("InstructBlipForConditionalGeneration")(config)
    _draw([model.query_tokens])
    return model, _parts(words, _pil("blip", "BlipImageProcessorPil")(size=_SIDES), qformer_tokenizer=readers)


@_builder("fuyu")
def _fuyu() -> tuple[nn.Module, Any]:
    words = tokenizer(["<s>", "|SPEAKER|", "|NEWLINE|", "<0x04>"])
    text = _decoder("PersimmonConfig", words, num_key_value_heads=4).to_dict()
    config = _hf("FuyuConfig")(
        text_config=text, patch_size=PATCH, image_size=IMAGE_SIZE, num_channels=3,
        image_token_id=words.convert_tokens_to_ids("|SPEAKER|"), vocab_size=len(words), hidden_size=48,
    )  # fmt: skip
    images = _pil("fuyu", "FuyuImageProcessorPil")(
        size={"height": IMAGE_SIZE, "width": 48}, patch_size={"height": PATCH, "width": PATCH}
    )
    return _hf("FuyuForCausalLM")(config), _parts(words, images)


@_builder("gemma3")
def _gemma3() -> tuple[nn.Module, Any]:
    specials = ["<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<image_soft_token>", "<end_of_image>"]
    words = tokenizer(specials, bos="<bos>", template=templates.GEMMA)
    text = _decoder(
        "Gemma3TextConfig", words, head_dim=12, sliding_window=16, query_pre_attn_scalar=12,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )  # fmt: skip
    config = _hf("Gemma3Config")(
        vision_config=_vision("SiglipVisionConfig", vision_use_head=False).to_dict(), text_config=text.to_dict(),
        mm_tokens_per_image=4, image_token_index=words.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=words.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=words.convert_tokens_to_ids("<end_of_image>"),
    )  # fmt: skip
    model = _hf("Gemma3ForConditionalGeneration")(config)
    _draw([model.model.multi_modal_projector.mm_input_projection_weight])
    return model, _parts(words, _pil("gemma3", "Gemma3ImageProcessorPil")(size=_SIDES, do_pan_and_scan=False))


@_builder("paligemma")
def _paligemma() -> tuple[nn.Module, Any]:
    words = tokenizer(["<bos>", "<image>"], bos="<bos>")
    text = _decoder(
        "Gemma2Config", words, head_dim=12, sliding_window=16, query_pre_attn_scalar=12, attn_logit_softcapping=None,
        final_logit_softcapping=3.0,
    ).to_dict()  # fmt: skip
    config = _hf("PaliGemmaConfig")(
        vision_config=_vision("SiglipVisionConfig", vision_use_head=False).to_dict(), text_config=text,
        image_token_index=words.convert_tokens_to_ids("<image>"), projection_dim=48, hidden_size=48,
    )  # fmt: skip
    return _hf("PaliGemmaForConditionalGeneration")(config), _parts(
        words, _pil("siglip", "SiglipImageProcessorPil")(size=_SIDES)
    )


@_builder("idefics3", "smolvlm")
def _idefics3(model_type: str) -> tuple[nn.Module, Any]:
    name = {"idefics3": "Idefics3", "smolvlm": "SmolVLM"}[model_type]
    images = _pil(model_type, f"{name}ImageProcessorPil")
    tiles = [f"<row_{r}_col_{c}>" for r in range(1, 3) for c in range(1, 3)]
    specials = ["<|im_start|>", "<end_of_utterance>", "<image>", "<fake_token_around_image>", "<global-img>"]
    words = tokenizer([*specials, *tiles], bos="<|im_start|>", template=templates.IDEFICS)
    config = _hf(f"{name}Config")(
        vision_config=_vision(f"{name}VisionConfig").to_dict(), text_config=_decoder("LlamaConfig", words).to_dict(),
        image_token_id=words.convert_tokens_to_ids("<image>"), scale_factor=2, pad_token_id=0,
    )  # fmt: skip
    processor = images(size={"longest_edge": 64}, max_image_size={"longest_edge": IMAGE_SIZE})
    return _hf(f"{name}ForConditionalGeneration")(config), _parts(words, processor)
