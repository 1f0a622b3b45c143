"""Gemma 3 and PaliGemma: attention that is not causal everywhere."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.lvlm.adapter import Features, register
from fusionscope.lvlm.batch import Batch
from fusionscope.lvlm.stream import StreamAdapter


@register("gemma3")
class Gemma3Adapter(StreamAdapter):
    """Gemma 3: tokens of one image see each other in both directions, all else is causal."""

    packing = (
        "tokens of an image see each other by token_type_ids, a mask that nobody has shown to keep packed samples apart"
    )
    image_text = "<start_of_image>"
    image_frame = "\n\n<start_of_image><image_soft_token><end_of_image>\n\n"
    image_mark = "<image_soft_token>"
    layout_only = ("num_crops",)

    def process(self, images: Sequence[Any]) -> list[Features]:
        found = super().process(images)
        if any(int(one["num_crops"].sum()) for one in found):
            raise InputError(
                "do_pan_and_scan=True",
                "crops change the text around the image, which the adapter does not write",
                "set processor.image_processor.do_pan_and_scan = False (the default of the checkpoints)",
            )
        return found

    def run(self, embeds: Tensor, batch: Batch) -> Any:
        # Through the base model, which builds the masks; after a prefix there is no image left and all is causal.
        kinds = (
            {}
            if batch.cache is not None
            else {"token_type_ids": (batch.ids == self.image_token_id).to(embeds.device).int()}
        )
        return self._decode(embeds, batch, self.model.model, **kinds)


@register("paligemma")
class PaliGemmaAdapter(StreamAdapter):
    """PaliGemma: image and question see each other in both directions, so no prefix can be shared."""

    packing = "image and question see each other in both directions, which a packed row's causal mask doesn't allow"
    prefix_shareable = False
    caps_logits = True
    default_template = (
        "{% for message in messages %}{% if message['role'] == 'user' %}"
        "{% for content in message['content'] %}"
        "{{ '<image>' + bos_token if content['type'] == 'image' else content['text'] }}"
        "{% endfor %}{{ '\n' }}{% else %}{{ message['content'][0]['text'] }}{% endif %}{% endfor %}"
    )
    adds_special = False

    def positions(self, ids: Sequence[int], image: Features | None) -> Tensor:
        return torch.arange(len(ids)) + 1

    def run(self, embeds: Tensor, batch: Batch) -> Any:
        width = torch.arange(batch.ids.shape[1])
        answers = torch.full((len(batch.ids),), len(width)) if batch.answers is None else batch.answers
        kinds = (width >= answers[:, None]).int().to(embeds.device)
        return self._decode(embeds, batch, self.model.model, token_type_ids=kinds)
