"""Gemma 3: tokens of one image see each other in both directions, all else is causal."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from fusionscope.errors import InputError
from fusionscope.lvlm.adapters import Features, StreamAdapter
from fusionscope.lvlm.batch import Batch
from fusionscope.lvlm.encoders import ExpandingEncoder
from fusionscope.lvlm.family import Family
from fusionscope.lvlm.miniatures import DECODER, SIDES, VISION, composed, draw, tokenizer
from fusionscope.lvlm.packing import CannotPack
from fusionscope.lvlm.prompt import PromptForm

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' }}"
    "{% for content in message['content'] %}"
    "{{ '<start_of_image>' if content['type'] == 'image' else content['text'] | trim }}{% endfor %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
"""google/gemma-3-4b-it."""


class _Adapter(StreamAdapter):
    layout_only = ("num_crops",)

    def process(self, images: Sequence[Any]) -> list[Features]:
        pixels = super().process(images)
        if any(int(image["num_crops"].sum()) for image in pixels):
            raise InputError(
                "do_pan_and_scan=True",
                "crops change the text around the image, which the adapter does not write",
                "set processor.image_processor.do_pan_and_scan = False (the default of the checkpoints)",
            )
        return pixels

    def run(self, embeds: Tensor, batch: Batch) -> Any:
        # Through the base model, which builds the masks; after a prefix there is no image left and all is causal.
        kinds = (
            {}
            if batch.cache is not None
            else {"token_type_ids": (batch.ids == self.image_token_id).to(embeds.device).int()}
        )
        return self._decode(embeds, batch, self.model.model, **kinds)


class _Encoder(ExpandingEncoder):
    """Its token types come from the processor and say which tokens see each other in both directions."""

    dropped = ()


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig, SiglipVisionConfig
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    specials = ["<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<image_soft_token>", "<end_of_image>"]
    words = tokenizer(specials, bos="<bos>", template=CHAT_TEMPLATE)
    text = Gemma3TextConfig(
        vocab_size=len(words),
        head_dim=12,
        sliding_window=16,
        query_pre_attn_scalar=12,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        **DECODER,
    )
    config = Gemma3Config(
        vision_config=SiglipVisionConfig(vision_use_head=False, **VISION).to_dict(),
        text_config=text.to_dict(),
        mm_tokens_per_image=4,
        image_token_index=words.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=words.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=words.convert_tokens_to_ids("<end_of_image>"),
    )
    model = Gemma3ForConditionalGeneration(config)
    draw([model.model.multi_modal_projector.mm_input_projection_weight])
    return model, composed(words, Gemma3ImageProcessorPil(size=SIDES, do_pan_and_scan=False))


FAMILY = Family(
    model_types=("gemma3",),
    adapter=_Adapter,
    prompt=PromptForm(
        image_text="<start_of_image>",
        image_frame="\n\n<start_of_image><image_soft_token><end_of_image>\n\n",
        image_token="<image_soft_token>",
    ),
    encoder=_Encoder,
    packing=CannotPack(
        reason="tokens of an image see each other by token_type_ids, a mask that nobody has shown to keep packed "
        "samples apart"
    ),
    miniature=_miniature,
)
