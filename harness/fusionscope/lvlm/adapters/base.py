"""What the probe must know about a model, whatever its family.

An adapter is the only place that knows a model class. It says where the decoder layers, the final norm and the head
are, how an image becomes tokens, and whether a prefix with the image in it may be shared by several questions.

Shapes: N sequences, S positions, D width, V vocabulary.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionscope.errors import InputError, MissingDependencyError
from fusionscope.lvlm.batch import Batch
from fusionscope.lvlm.family import PartName
from fusionscope.lvlm.offload import execution_device
from fusionscope.lvlm.prompt import Chat

if TYPE_CHECKING:
    from fusionscope.lvlm.family import Family

Features = dict[str, Tensor]
"""One image, as far as it has been processed: ``embeddings`` [tokens, D] once it is in the language model's space."""


class Adapter(ABC):
    """Base of all families: image tokens in the stream of a decoder with one final norm and one head.

    Args:
        model: The Hugging Face model with its head, not wrapped by peft.
        processor: Anything with ``tokenizer`` and ``image_processor``.
        family: The model's family.
    """

    image_reads_question: ClassVar[bool] = False
    """Image embeddings depend on the question (a Q-Former that reads it)."""
    may_skip_layers: ClassVar[bool] = False
    """Decoder layers are left out where there is no image; their output is then their input."""
    caps_logits: ClassVar[bool] = False
    """Whether the model class carries out ``final_logit_softcapping``; transformers' Gemma 3 with an image does not."""
    image_states: ClassVar[tuple[str, ...]] = ("embeddings",)
    """The projected features through which the model sees: what a masking design exchanges."""
    image_enters: ClassVar[Literal["tokens", "cross-attention"]] = "tokens"
    prefix_shareable: ClassVar[bool] = True
    """Whether keys and values up to the end of the image are the same for every question that follows."""
    image_settings: ClassVar[dict[str, Any]] = {}
    """What the family's processor asks of its image processor, whatever the image processor's own settings."""
    encoding_parts: ClassVar[tuple[PartName, ...]] = ("vision_tower", "projector")
    """Parts whose weights decide what `encode_images` returns."""

    def __init__(self, model: Any, processor: Any, family: "Family") -> None:
        self.model = model
        self.processor = processor
        self.family = family

    # --- parts -------------------------------------------------------------------------------------------------
    @property
    def text_model(self) -> Any:
        """The decoder without its head."""
        return self.model.get_submodule(self.family.parts.language_model[0])

    @property
    def vision_tower(self) -> nn.Module:
        """The vision tower."""
        tower: nn.Module = self.model.get_submodule(self.family.parts.vision_tower[0])
        return tower

    @property
    def projector(self) -> nn.Module:
        """What leads from the vision tower to the language model."""
        projector: nn.Module = self.model.get_submodule(self.family.parts.projector[0])
        return projector

    @property
    def vision_modules(self) -> list[nn.Module]:
        """The modules whose weights decide what `encode_images` returns."""
        return list(_modules_at(self.model, self.family.parts.prefixes(self.encoding_parts)))

    @property
    def layers(self) -> Sequence[nn.Module]:
        """Decoder layers, first to last."""
        layers: Sequence[nn.Module] = self.text_model.layers
        return layers

    @property
    def final_norm(self) -> nn.Module:
        """What the model applies between its last decoder layer and its head."""
        norm: nn.Module = self.text_model.norm
        return norm

    @property
    def embedding(self) -> nn.Module:
        """The table of word embeddings, scale included."""
        table: nn.Module = self.model.get_input_embeddings()
        return table

    def head(self, hidden: Tensor) -> Tensor:
        """Normed hidden states [..., D] to logits [..., V], soft-capping included."""
        logits: Tensor = self.model.lm_head(hidden)
        cap = getattr(self.text_config, "final_logit_softcapping", None) if self.caps_logits else None
        return logits if cap is None else torch.tanh(logits / cap) * cap

    @property
    def text_config(self) -> Any:
        """The language model's configuration."""
        return self.model.config.get_text_config()

    @property
    def slides(self) -> bool:
        """Whether some layers see only a window of columns, padding among them."""
        kinds = getattr(self.text_config, "layer_types", None)
        if kinds is None:  # Mistral states its window and no kinds of layers
            return getattr(self.text_config, "sliding_window", None) is not None
        return any("sliding" in kind for kind in kinds)

    @property
    def device(self) -> torch.device:
        """Where token ids go."""
        return execution_device(self.embedding)

    # --- text --------------------------------------------------------------------------------------------------
    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def chat(self) -> Chat:
        """The tokenizer with its template and the image's mark."""
        form = self.family.prompt
        return Chat(
            tokenizer=self.tokenizer, template=self.chat_template, form=form, image_id=self.token_id(form.token)
        )

    @property
    def chat_template(self) -> str:
        """The checkpoint's template, or the family's form where checkpoints have none."""
        template = getattr(self.processor, "chat_template", None) or getattr(self.tokenizer, "chat_template", None)
        template = template or self.family.prompt.template
        if not isinstance(template, str):
            raise InputError(
                f"{type(self.processor).__name__} has {'several chat templates' if template else 'no chat template'}",
                "without one template the prompt that the model was trained on is not known",
                "set processor.chat_template to the checkpoint's template (chat_template.jinja or "
                "tokenizer_config.json in its directory)",
            )
        return template

    @property
    def pad_id(self) -> int:
        """Any token id that is not an image's; it stands at masked places only."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None and pad != self.image_token_id else 0

    def token_id(self, text: str) -> int:
        token = self.tokenizer.convert_tokens_to_ids(text)
        if token is None or token == self.tokenizer.unk_token_id:
            raise InputError(
                f"the tokenizer has no token {text!r}",
                f"models of type {self.model.config.model_type!r} mark the image by it",
                "load the tokenizer of the same checkpoint as the model",
            )
        return int(token)

    # --- image -------------------------------------------------------------------------------------------------
    @property
    def image_token_id(self) -> int:
        """The id at whose positions image embeddings are put."""
        return int(self.model.config.image_token_id)

    def process(self, images: Sequence[Any]) -> list[Features]:
        """Images (PIL) to the image processor's tensors, one dict per image, each as for a batch of one."""
        return [
            {name: value for name, value in self._processed([image]).items() if isinstance(value, Tensor)}
            for image in images
        ]

    def _processed(self, images: Sequence[Any], **settings: Any) -> Any:
        """The image processor's output.

        Raises:
            MissingDependencyError: It needs a package that is not installed.
        """
        try:
            return self.processor.image_processor(
                images=list(images), return_tensors="pt", **self._image_settings | settings
            )
        except ImportError as error:
            raise MissingDependencyError(
                f"{type(self.processor.image_processor).__name__} cannot run here",
                str(error).strip(),
                "install what it names, or use the processor's PIL variant: "
                "AutoImageProcessor.from_pretrained(name, backend='pil')",
            ) from error

    @property
    def _image_settings(self) -> dict[str, Any]:
        asked = getattr(self.processor, "images_kwargs", {})
        return {name: asked.get(name, value) for name, value in self.image_settings.items()}

    @property
    def image_config_key(self) -> str:
        """All but weights that decides what `process` and `encode_images` make of an image, as text.

        Where it is equal, and the weights of `vision_modules` are, so are the features of equal images.
        """
        describe = getattr(self.processor.image_processor, "to_dict", None)
        images = describe() if callable(describe) else type(self.processor.image_processor).__name__
        names = ("vision_feature_layer", "vision_feature_select_strategy", "image_grid_pinpoints", "downsample_ratio")
        config = {name: getattr(self.model.config, name, None) for name in names}
        return json.dumps([type(self).__name__, images, self._image_settings, config], sort_keys=True, default=str)

    @abstractmethod
    def encode_images(self, pixels: Sequence[Features]) -> list[Features]:
        """The vision tower: what may be cached while the weights of `vision_modules` stay as they are.

        Args:
            pixels: From `process`, one dict per image.
        """

    def project(self, features: Sequence[Features]) -> list[Features]:
        """From what `encode_images` returned to ``embeddings`` [tokens, D]; computed afresh at every probe."""
        return list(features)

    def expand(self, features: Features) -> list[int]:
        """The token ids that stand for an image whose `project`-ed features are given."""
        return [self.image_token_id] * features["embeddings"].shape[0]

    def shape_key(self, features: Features) -> tuple[int, ...]:
        """Equal for images whose tokens and positions are the same, so that they may share a batch."""
        return (features["embeddings"].shape[0],)

    # --- one pass ----------------------------------------------------------------------------------------------
    def positions(self, ids: Sequence[int], image: Features | None) -> Tensor:
        """Position ids of one whole sequence: [S], or [3, S] for multimodal rotary embeddings."""
        return torch.arange(len(ids))

    def packed_positions(self, inputs: dict[str, Tensor]) -> Tensor:
        """Position ids of a packed batch as the model wants them.

        Args:
            inputs: The model's inputs; ``position_ids`` int64 [N, S] begin again at 0 with every sample.
        """
        return inputs["position_ids"]

    def image_embeddings(self, batch: Batch, like: Tensor) -> Tensor:
        """Embeddings [tokens, D] of all images of a batch, in the order of their tokens."""
        distinct = {id(image): image["embeddings"] for image in batch.images}
        there = {key: value.to(like) for key, value in distinct.items()}
        return torch.cat([there[id(image)] for image in batch.images])

    def embed(self, batch: Batch) -> Tensor:
        """Token embeddings [N, S, D] with the images' embeddings in place.

        Raises:
            InputError: The number of image tokens differs from the number of image embeddings.
        """
        # Counted where the ids lie, on the CPU as a rule: a count on a GPU synchronises.
        here = batch.ids == self.image_token_id
        words: Tensor = self.embedding(batch.ids.masked_fill(here, 0).to(self.device))
        if not batch.images:
            return words
        images = self.image_embeddings(batch, words)
        if int(here.sum()) != images.shape[0]:
            raise InputError(
                f"{int(here.sum())} image tokens for {images.shape[0]} image embeddings",
                "every image embedding takes the place of one token",
                "check patch_size, vision_feature_select_strategy and num_additional_image_tokens of the processor",
            )
        return words.masked_scatter(here.to(words.device).unsqueeze(-1), images)

    def run(self, embeds: Tensor, batch: Batch) -> Any:
        """The decoder over embeddings [N, S, D]; returns the cache, or None where none was asked for."""
        return self._decode(embeds, batch)

    def _decode(self, embeds: Tensor, batch: Batch, through: Any = None, **extra: Any) -> Any:
        """One call of the decoder, or of the model around it where that prepares masks."""
        outputs = (self.text_model if through is None else through)(
            inputs_embeds=embeds,
            attention_mask=None if batch.mask is None else batch.mask.to(embeds.device),
            position_ids=batch.positions.to(embeds.device),
            past_key_values=batch.cache,
            use_cache=batch.keep_cache or batch.cache is not None,
            **extra,
        )
        return outputs.past_key_values if batch.keep_cache else None


class _Leaf(nn.Module):
    """A lone parameter as a module, for the weights' fingerprint."""

    def __init__(self, value: nn.Parameter) -> None:
        super().__init__()
        self.value = value


def _modules_at(model: nn.Module, prefixes: Sequence[str]) -> Iterator[nn.Module]:
    """The modules of these names that the model has, without those inside another of them."""
    for prefix in prefixes:
        value = _member(model, prefix)
        inside = any(prefix.startswith(f"{other}.") for other in prefixes)
        if value is not None and not inside:
            yield _Leaf(value) if isinstance(value, nn.Parameter) else value


def _member(model: nn.Module, name: str) -> Any:
    """The module or parameter of a dotted name, or None where the model has none."""
    value: Any = model
    for word in name.split("."):
        value = getattr(value, word, None)
    return value
