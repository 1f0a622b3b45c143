"""Put a language model and a CLIP vision tower together: the model that LLaVA's first stage starts from.

    python tools/assemble_llava.py lmsys/vicuna-7b-v1.5 openai/clip-vit-large-patch14-336 models/llava15_7b_base

Both are Hugging Face directories or hub names. The projector between them is random; the vocabulary gets ``<image>``
and ``<pad>`` and is padded to a multiple of 64 (32,064 for Vicuna), as in llava-hf/llava-1.5-7b-hf. The directory holds
model and processor, and loads with ``from_pretrained`` of plain transformers.
"""

import argparse

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPVisionModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from fusionscope.lvlm.chat_templates import LLAVA

IMAGE, PAD, MULTIPLE = "<image>", "<pad>", 64


def assemble(language: str, vision: str, dtype: torch.dtype, seed: int) -> tuple[LlavaForConditionalGeneration, object]:
    words = AutoTokenizer.from_pretrained(language)
    words.add_special_tokens({"additional_special_tokens": [IMAGE]} | ({} if words.pad_token else {"pad_token": PAD}))
    decoder = AutoModelForCausalLM.from_pretrained(language, dtype=dtype)
    tower = CLIPVisionModel.from_pretrained(vision, dtype=dtype)
    decoder.resize_token_embeddings(len(words), pad_to_multiple_of=MULTIPLE)
    tokens = (tower.config.image_size // tower.config.patch_size) ** 2
    config = LlavaConfig(
        vision_config=tower.config.to_dict(),
        text_config=decoder.config.to_dict(),
        image_token_index=words.convert_tokens_to_ids(IMAGE),
        pad_token_id=words.pad_token_id,
        image_seq_length=tokens,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    model.model.language_model, model.model.vision_tower = decoder.model, tower
    model.lm_head = decoder.lm_head
    projector = model.model.multi_modal_projector.to_empty(device="cpu").to(dtype)
    for layer in projector.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.reset_parameters()  # torch's own start, as in LLaVA's code
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil.from_pretrained(vision),
        tokenizer=words,
        chat_template=LLAVA,
        patch_size=tower.config.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return model, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("language", help="a causal language model")
    parser.add_argument("vision", help="a CLIP model")
    parser.add_argument("directory", help="where to write")
    parser.add_argument("--dtype", default="float16", choices=("float16", "bfloat16", "float32"))
    parser.add_argument("--seed", type=int, default=0, help="of the projector")
    options = parser.parse_args()
    model, processor = assemble(options.language, options.vision, getattr(torch, options.dtype), options.seed)
    model.save_pretrained(options.directory)
    processor.save_pretrained(options.directory)
    print(f"{options.directory}: {sum(p.numel() for p in model.parameters()):,} parameters")


if __name__ == "__main__":
    main()
