"""InstructBLIP: a Q-Former reads the question while it looks at the image."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fusionscope.errors import ConfigError, InputError
from fusionscope.lvlm.adapters import Adapter, Features
from fusionscope.lvlm.batch import Batch
from fusionscope.lvlm.encoders import ImageFirstEncoder, Images, Offsets, Rendered
from fusionscope.lvlm.family import Family, PartTable
from fusionscope.lvlm.miniatures import DECODER, SIDES, VISION, composed, draw, tokenizer
from fusionscope.lvlm.offload import execution_device, module_dtype
from fusionscope.lvlm.packing import CannotPack
from fusionscope.lvlm.prompt import PromptForm

PROMPT = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{% for content in message['content'] %}"
    "{{ '<image>' if content['type'] == 'image' else content['text'] }}"
    "{% endfor %}"
    "{% else %}"
    "{{ ' ' }}{% generation %}{{ message['content'][0]['text'] }}{{ eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}"
)
"""What the family was trained on: an image, a question, a blank, an answer."""


class _Adapter(Adapter):
    """InstructBLIP over a Llama (Vicuna): image embeddings depend on the question, so no prefix can be shared."""

    prefix_shareable = False
    image_reads_question = True
    image_states = ()
    encoding_parts = ("vision_tower",)

    def __init__(self, model: Any, processor: Any, family: Family) -> None:
        super().__init__(model, processor, family)
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

    def head(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.model.language_model.lm_head(hidden)
        return logits

    def encode_images(self, pixels: Sequence[Features]) -> list[Features]:
        tower = self.vision_tower
        values = torch.cat([image["pixel_values"] for image in pixels])
        states = tower(values.to(execution_device(tower), module_dtype(tower))).last_hidden_state
        return [{"features": image} for image in states]

    def expand(self, features: Features) -> list[int]:
        return [self.image_token_id] * int(self.model.config.num_query_tokens)

    def shape_key(self, features: Features) -> tuple[int, ...]:
        return tuple(features["features"].shape)

    def image_embeddings(self, batch: Batch, like: Tensor) -> Tensor:
        qformer = self.model.qformer
        projection = self.model.language_projection
        queries = self.model.query_tokens
        device = execution_device(qformer)
        states = torch.stack([image["features"] for image in batch.images]).to(device, module_dtype(qformer))
        words = self._instructions(batch.texts).to(device)
        query_mask = torch.ones(len(states), queries.shape[1], dtype=torch.long, device=device)
        output = qformer(
            input_ids=words["input_ids"],
            attention_mask=torch.cat([query_mask, words["attention_mask"]], dim=1),
            query_embeds=queries.expand(len(states), -1, -1).to(device),
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:-1], dtype=torch.long, device=device),
        )
        read = output.last_hidden_state[:, : queries.shape[1]]
        embeddings: Tensor = projection(read.to(execution_device(projection), module_dtype(projection)))
        return embeddings.flatten(0, 1).to(like)

    def _instructions(self, texts: Sequence[str]) -> Any:
        rendered = [self.chat.render(text).removeprefix(self.family.prompt.image_text) for text in texts]
        tokenizer = self.processor.qformer_tokenizer
        return tokenizer(rendered, padding=True, return_tensors="pt", return_token_type_ids=False)


class _Encoder(ImageFirstEncoder):
    """The Q-Former looks at each image with the words before the first answer, not with the answer."""

    needs_image = True

    def __init__(self, processor: Any, family: Family) -> None:
        super().__init__(processor, family)
        if processor.num_query_tokens is None:
            raise ConfigError(
                f"{type(processor).__name__} has num_query_tokens=None",
                "each image becomes as many tokens as the Q-Former has queries",
                "set processor.num_query_tokens = model.config.num_query_tokens",
            )

    def heads(self, images: Images) -> tuple[list[list[int]], dict[str, Tensor]]:
        """One token for each query of the Q-Former."""
        return self.fixed_heads(images, int(self.processor.num_query_tokens))

    def further_inputs(self, bodies: Sequence[Rendered], offsets: Offsets, images: Sequence[int]) -> dict[str, Tensor]:
        """The Q-Former's words: one row per image, none for samples without."""
        questions = [sample.text[: sample.spans[0][0]].rstrip() for sample in bodies]
        texts = [text for text, n in zip(questions, images, strict=True) for _ in range(n)]
        if not texts:
            return {}
        words = self.processor.qformer_tokenizer(
            texts, padding=True, padding_side="right", truncation=True, return_tensors="pt", return_token_type_ids=False
        )
        return {f"qformer_{name}": words[name] for name in ("input_ids", "attention_mask")}


def _miniature() -> tuple[nn.Module, Any]:
    from transformers import (
        InstructBlipConfig,
        InstructBlipForConditionalGeneration,
        InstructBlipVisionConfig,
        LlamaConfig,
    )
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    words = tokenizer(["<s>", "</s>", "<image>"], bos="<s>")
    question_words = tokenizer(["[CLS]"], bos="[CLS]")
    qformer = {
        "vocab_size": len(question_words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "encoder_hidden_size": 32,
        "cross_attention_frequency": 1,
        "initializer_range": 0.3,
    }
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(initializer_range=0.1, **VISION).to_dict(),
        qformer_config=qformer,
        text_config=LlamaConfig(vocab_size=len(words), **DECODER).to_dict(),
        num_query_tokens=5,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    model = InstructBlipForConditionalGeneration(config)
    draw([model.query_tokens])
    return model, composed(words, BlipImageProcessorPil(size=SIDES), qformer_tokenizer=question_words)


FAMILY = Family(
    model_types=("instructblip",),
    adapter=_Adapter,
    parts=PartTable(
        vision_tower=("vision_model",),
        projector=("query_tokens", "qformer", "language_projection"),
        language_model=("language_model",),
    ),
    prompt=PromptForm(image_text="<image>", image_first=True, template=PROMPT),
    encoder=_Encoder,
    packing=CannotPack(reason="its Q-Former reads the question of each row, which must be that of a single sample"),
    miniature=_miniature,
)
