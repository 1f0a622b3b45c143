"""InstructBLIP: a Q-Former reads the question while it looks at the image."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fusionscope.errors import InputError
from fusionscope.lvlm.adapter import Adapter, Features, register
from fusionscope.lvlm.batch import Batch
from fusionscope.lvlm.offload import execution_device, module_dtype


@register("instructblip")
class InstructBlipAdapter(Adapter):
    """InstructBLIP over a Llama (Vicuna): image embeddings depend on the question, so no prefix can be shared."""

    packing = "its Q-Former reads the question of each row, which must be that of a single sample"
    prefix_shareable = False
    image_reads_question = True
    image_apart = True
    image_states = ()
    default_template = (
        "{% for message in messages %}{% if message['role'] == 'user' %}{% for content in message['content'] %}"
        "{{ '<image>' if content['type'] == 'image' else content['text'] }}{% endfor %}"
        "{% else %}{{ ' ' + message['content'][0]['text'] }}{% endif %}{% endfor %}"
    )

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model, processor)
        inner = getattr(model.language_model, "model", None)
        if not (hasattr(inner, "layers") and hasattr(inner, "norm")):
            raise InputError(
                f"InstructBLIP over {type(model.language_model).__name__}",
                "the adapter reads a decoder with one final norm, as Vicuna has",
                "use Salesforce/instructblip-vicuna-7b or -13b; for T5 or OPT write an adapter of your own",
            )
        if getattr(processor, "qformer_tokenizer", None) is None:
            raise InputError(
                f"{type(processor).__name__} has no qformer_tokenizer",
                "the Q-Former reads the question with a tokenizer of its own",
                "pass the checkpoint's InstructBlipProcessor, or an object with .qformer_tokenizer",
            )

    @property
    def text_model(self) -> Any:
        return self.model.language_model.model

    @property
    def seeing_parts(self) -> Sequence[nn.Module]:
        return [self.model.vision_model]

    def head(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.model.language_model.lm_head(hidden)
        return logits

    def look(self, pixels: Sequence[Features]) -> list[Features]:
        tower = self.model.vision_model
        values = torch.cat([one["pixel_values"] for one in pixels])
        states = tower(values.to(execution_device(tower), module_dtype(tower))).last_hidden_state
        return [{"features": one} for one in states]

    def expand(self, features: Features) -> list[int]:
        return [self.image_token_id] * int(self.model.config.num_query_tokens)

    def shape_key(self, features: Features) -> tuple[int, ...]:
        return tuple(features["features"].shape)

    def image_embeddings(self, batch: Batch, like: Tensor) -> Tensor:
        qformer, projection = self.model.qformer, self.model.language_projection
        device, queries = execution_device(qformer), self.model.query_tokens
        states = torch.stack([image["features"] for image in batch.images]).to(device, module_dtype(qformer))
        words = self._instructions(batch.texts).to(device)
        seen = torch.ones(len(states), queries.shape[1], dtype=torch.long, device=device)
        output = qformer(
            input_ids=words["input_ids"],
            attention_mask=torch.cat([seen, words["attention_mask"]], dim=1),
            query_embeds=queries.expand(len(states), -1, -1).to(device),
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:-1], dtype=torch.long, device=device),
        )
        read = output.last_hidden_state[:, : queries.shape[1]]
        embeddings: Tensor = projection(read.to(execution_device(projection), module_dtype(projection)))
        return embeddings.flatten(0, 1).to(like)

    def _instructions(self, texts: Sequence[str]) -> Any:
        rendered = [self.chat.render(text).removeprefix(self.image_text) for text in texts]
        tokenizer = self.processor.qformer_tokenizer
        return tokenizer(rendered, padding=True, return_tensors="pt", return_token_type_ids=False)
