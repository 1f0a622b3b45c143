"""LLaVA-NeXT (1.6): tiles by resolution, unpadded, a newline embedding after every row."""

from typing import Any

from torch import nn

from fusionscope.lvlm.adapters import StreamAdapter
from fusionscope.lvlm.chat_templates import LLAVA
from fusionscope.lvlm.encoders import ExpandingEncoder
from fusionscope.lvlm.family import Family, PartTable
from fusionscope.lvlm.miniatures import IMAGE_SIZE, PATCH, SIDES, tokenizer
from fusionscope.lvlm.miniatures.llava import llava_config
from fusionscope.lvlm.packing import ImageInputs
from fusionscope.lvlm.prompt import PromptForm


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextProcessor
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    words = tokenizer(["<s>", "</s>", "<image>"], bos="<s>", template=LLAVA)
    grid = [[32, 64], [64, 32], [64, 64]]
    config = LlavaNextConfig(
        **llava_config(words),
        image_grid_pinpoints=grid,
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
    )
    images = LlavaNextImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=SIDES, image_grid_pinpoints=grid)
    processor = LlavaNextProcessor(
        image_processor=images,
        tokenizer=words,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA,
    )
    return LlavaNextForConditionalGeneration(config), processor


FAMILY = Family(
    model_types=("llava_next",),
    adapter=StreamAdapter,
    parts=PartTable(projector=("model.multi_modal_projector", "model.image_newline")),
    prompt=PromptForm(image_text="<image>"),
    encoder=ExpandingEncoder,
    packing=ImageInputs(per_image=("pixel_values", "image_sizes")),
    miniature=_miniature,
)
