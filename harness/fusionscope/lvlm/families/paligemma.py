"""PaliGemma: image and question see each other in both directions, so no prefix can be shared."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fusionscope.lvlm.adapters import Features, StreamAdapter
from fusionscope.lvlm.batch import Batch
from fusionscope.lvlm.encoders import ImageFirstEncoder, Images, Offsets, Rendered, padded_rows
from fusionscope.lvlm.family import Family
from fusionscope.lvlm.miniatures import DECODER, SIDES, VISION, composed, tokenizer
from fusionscope.lvlm.packing import CannotPack
from fusionscope.lvlm.prompt import PromptForm

PROMPT = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{{ bos_token if loop.first else '' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] }}{% endfor %}"
    "{{ '\n' }}"
    "{% else %}"
    "{% generation %}{{ message['content'][0]['text'] }}{{ eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}"
)
"""What the family was trained on: an image, the start token, a question, a line end, an answer."""


class _Adapter(StreamAdapter):
    prefix_shareable = False
    caps_logits = True

    def positions(self, ids: Sequence[int], image: Features | None) -> Tensor:
        return torch.arange(len(ids)) + 1

    def run(self, embeds: Tensor, batch: Batch) -> Any:
        width = torch.arange(batch.ids.shape[1])
        answers = torch.full((len(batch.ids),), len(width)) if batch.answers is None else batch.answers
        kinds = (width >= answers[:, None]).int().to(embeds.device)
        return self._decode(embeds, batch, self.model.model, token_type_ids=kinds)


class _Encoder(ImageFirstEncoder):
    """Images, start token and first question see each other in both directions; all from the first answer on is causal.

    What PaliGemma was trained on is one question and one answer; the turns after them continue the causal part.
    """

    def heads(self, images: Images) -> tuple[list[list[int]], dict[str, Tensor]]:
        """As many tokens for each image as the processor says."""
        return self.fixed_heads(images, int(self.processor.image_seq_length))

    def further_inputs(self, bodies: Sequence[Rendered], offsets: Offsets, images: Sequence[int]) -> dict[str, Tensor]:
        """``token_type_ids``: 0 where attention is bidirectional, 1 in the causal part and in the padding."""
        kinds = [[int(end > sample.spans[0][0]) for _, end in row] for sample, row in zip(bodies, offsets, strict=True)]
        return {"token_type_ids": padded_rows(kinds, 1)}


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import Gemma2Config, PaliGemmaConfig, PaliGemmaForConditionalGeneration, SiglipVisionConfig
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    words = tokenizer(["<bos>", "<image>"], bos="<bos>")
    text = Gemma2Config(
        vocab_size=len(words),
        head_dim=12,
        sliding_window=16,
        query_pre_attn_scalar=12,
        attn_logit_softcapping=None,
        final_logit_softcapping=3.0,
        **DECODER,
    )
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(vision_use_head=False, **VISION).to_dict(),
        text_config=text.to_dict(),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        projection_dim=48,
        hidden_size=48,
    )
    return PaliGemmaForConditionalGeneration(config), composed(words, SiglipImageProcessorPil(size=SIDES))


FAMILY = Family(
    model_types=("paligemma",),
    adapter=_Adapter,
    prompt=PromptForm(image_text="<image>", image_first=True, template=PROMPT),
    encoder=_Encoder,
    packing=CannotPack(
        reason="image and question see each other in both directions, which a packed row's causal mask doesn't allow"
    ),
    miniature=_miniature,
)
