"""One interface to every vision-language model: wrap it, show it images, read its hidden states."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from fusionscope.errors import BadImageError, ConfigError, FusionscopeError, InputError, UnknownNameError
from fusionscope.lvlm.adapters import Adapter, Features
from fusionscope.lvlm.batch import Batch
from fusionscope.lvlm.capture import Capture
from fusionscope.lvlm.family import Family
from fusionscope.lvlm.features import FeatureCache
from fusionscope.lvlm.fingerprint import weights_fingerprint
from fusionscope.lvlm.offload import execution_device
from fusionscope.lvlm.processor import PROCESSOR_ERRORS
from fusionscope.lvlm.prompt import Prompt
from fusionscope.lvlm.register import family_of_model, known_families
from fusionscope.tasks import LazyImages


class LVLM:
    """A Hugging Face vision-language model and its processor, seen through the adapter of its family.

    It holds the model, it does not own it: nothing is registered, copied or changed, so the same model can be trained
    by somebody else at the same time. `model` may be assigned anew (after peft wrapped it, say).

    Args:
        model: The model, as AutoModelForImageTextToText builds it; wrapped by peft or DDP or compiled or not.
        processor: Anything with ``tokenizer`` and ``image_processor``, and with ``chat_template`` unless the tokenizer
            has one.

    Raises:
        UnknownNameError: No family serves the model's type.
        InputError: The processor lacks a part, or peft wraps the model in a method of learned prompts.
    """

    def __init__(self, model: nn.Module, processor: Any) -> None:
        for part in ("tokenizer", "image_processor"):
            if getattr(processor, part, None) is None:
                raise InputError(
                    f"{type(processor).__name__} has no {part}",
                    "the probe composes image processor and tokenizer itself",
                    f"pass the checkpoint's processor, or any object with a .{part}",
                )
        self.processor = processor
        self.model = model
        self._refusals: dict[str, BadImageError | None] = {}

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """See the class: a model that exists already."""
        return cls(model, processor)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        *,
        processor: Any = None,
        dtype: str | torch.dtype = "auto",
        device_map: Any = None,
        quantization: Any = None,
        **settings: Any,
    ) -> Self:
        """Load a model and its processor.

        Args:
            name_or_path: A directory or the name of a model on the hub.
            processor: Used instead of the one stored with the model (of the same ``revision``, where one is given).
            dtype: Of the weights; ``"auto"`` is the stored one.
            device_map: As in transformers, ``"auto"`` to spread a large model.
            quantization: A transformers quantization config (such as BitsAndBytesConfig).
            **settings: Passed to ``AutoModelForImageTextToText.from_pretrained``.

        Raises:
            ConfigError: A name that cannot be loaded.
        """
        known_families()  # one of another package may register a model's class with transformers
        from transformers import AutoModelForImageTextToText

        if device_map is not None:
            settings["device_map"] = device_map
        if quantization is not None:
            settings["quantization_config"] = quantization
        try:
            model = AutoModelForImageTextToText.from_pretrained(name_or_path, dtype=dtype, **settings)
        except OSError as error:
            raise ConfigError(
                f"model={name_or_path!r} cannot be loaded",
                str(error).splitlines()[0],
                "give a directory written by save_pretrained (or by fusionscope export), or a name on the model hub",
            ) from error
        if processor is None:
            from fusionscope.lvlm.processor import load_processor

            where = ("revision", "token", "cache_dir", "local_files_only", "force_download", "trust_remote_code")
            processor = load_processor(name_or_path, **{name: settings[name] for name in where if name in settings})
        return cls(model, processor)

    @property
    def model(self) -> nn.Module:
        """The model as it was handed in."""
        return self._model

    @model.setter
    def model(self, model: nn.Module) -> None:
        bare = _bare(model)
        family = family_of_model(bare)
        self._model = model
        self.adapter: Adapter = family.adapter(bare, self.processor, family)

    @property
    def family(self) -> Family:
        """The model's family."""
        return self.adapter.family

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def n_layers(self) -> int:
        """Number of decoder layers L; layer numbers run from 0 (input embeddings) to L."""
        return len(self.adapter.layers)

    def layer_numbers(self, layers: str | int | Sequence[int]) -> tuple[int, ...]:
        """Layer numbers from what a user writes.

        Args:
            layers: ``"all"``, ``"last"``, one number or several; negative ones count from the end.

        Raises:
            UnknownNameError: There is no such layer.
        """
        every = range(self.n_layers + 1)
        if isinstance(layers, str):
            named = {"all": tuple(every), "last": (self.n_layers,)}
            if layers in named:
                return named[layers]
        else:
            wanted = [layers] if isinstance(layers, int) else list(layers)
            if wanted and all(isinstance(layer, int) and -len(every) <= layer < len(every) for layer in wanted):
                return tuple(sorted({every[layer] for layer in wanted}))
        raise UnknownNameError(
            f"layers {layers!r}",
            f"the model has layers 0 (input embeddings) to {self.n_layers} (last decoder layer)",
            "give 'all', 'last', a number or a list of numbers in this range",
        )

    def prompt(self, text: str, candidates: Sequence[str]) -> Prompt:
        """Tokens of a user's turn and of the candidates that may follow it."""
        return self.adapter.chat.prompt(text, candidates)

    @torch.no_grad()
    def encode_images(
        self,
        images: Sequence[Any],
        keys: Sequence[str] | None = None,
        cache: FeatureCache | None = None,
        at_once: int = 32,
    ) -> list[Features]:
        """Images to embeddings in the language model's space, kept on the CPU: only a batch's go to its device.

        Nothing of the towers' graph is kept: for gradients use the adapter's `encode_images` and `project`.

        Args:
            images: A sequence of PIL images; only those that the cache lacks are opened.
            keys: What identifies each image in the cache: a digest of its content.
            cache: Features of earlier calls.
            at_once: Images per pass through the tower.
        """
        if cache is None or keys is None:
            encoded = self._encoded(images, range(len(images)), at_once)
        else:
            encoded = self._through(cache, keys, images, at_once)
        chunks = (encoded[start : start + at_once] for start in range(0, len(encoded), at_once))
        return [_on_cpu(features) for chunk in chunks for features in self.adapter.project(chunk)]

    def _encoded(self, images: Sequence[Any], which: Sequence[int], at_once: int) -> list[Features]:
        """What the towers make of the images of these numbers, on the CPU."""
        chunks = [which[start : start + at_once] for start in range(0, len(which), at_once)]
        return [
            _on_cpu(features)
            for chunk in chunks
            for features in self.adapter.encode_images(self._pixels(images, chunk))
        ]

    def _pixels(self, images: Sequence[Any], which: Sequence[int]) -> list[Features]:
        """What the processor makes of the images of these numbers; names the one that it refuses."""
        opened = [images[i] for i in which]
        try:
            return self.adapter.process(opened)
        except FusionscopeError:
            raise
        except PROCESSOR_ERRORS:
            sources = LazyImages.of(images).sources
            for i, image in zip(which, opened, strict=True):
                refusal = self.refusal(image, sources[i].name)
                if refusal is not None:
                    raise refusal from None
            raise

    def refusal(self, image: Any, name: str) -> BadImageError | None:
        """Why the model's image processor refuses an image, or None where it takes it.

        Args:
            image: A PIL image.
            name: What messages call it.
        """
        try:
            self.adapter.process([image])
        except FusionscopeError:
            raise
        except PROCESSOR_ERRORS as error:
            return BadImageError(
                f"image {name!r} ({image.width} x {image.height}) is refused: {error}",
                f"{type(self.processor.image_processor).__name__} cannot prepare it",
                "leave the image out, or allow a few to be left out (max_bad_images)",
            )
        return None

    def refusals(self, images: Sequence[Any]) -> dict[int, BadImageError]:
        """Which images the model's image processor refuses, and why; each content is tried once.

        Args:
            images: A sequence of PIL images.
        """
        lazy = LazyImages.of(images)
        refused: dict[int, BadImageError] = {}
        for i, source in enumerate(lazy.sources):
            digest = lazy.digest(i)
            if digest not in self._refusals:
                self._refusals[digest] = self.refusal(source.open(), source.name)
            if (error := self._refusals[digest]) is not None:
                refused[i] = error
        return refused

    def _through(self, cache: FeatureCache, keys: Sequence[str], images: Sequence[Any], at_once: int) -> list[Features]:
        """The same for all images, those that the cache lacks computed and put there."""
        weights = weights_fingerprint(self.adapter.vision_modules)
        mark = f"{weights} {self.adapter.image_config_key}"
        known = {i: features for i, key in enumerate(keys) if (features := cache.get((mark, key))) is not None}
        missing = [i for i in range(len(images)) if i not in known]
        for start in range(0, len(missing), at_once):
            chunk = missing[start : start + at_once]
            for i, features in zip(chunk, self._encoded(images, chunk, at_once), strict=True):
                known[i] = features
                cache.put((mark, keys[i]), features)
        return [known[i] for i in range(len(images))]

    def read(
        self,
        batch: Batch,
        layers: Sequence[int],
        columns: Tensor,
        edit: Callable[[Tensor], Tensor] | None = None,
    ) -> dict[int, Tensor]:
        """One pass: hidden states [N, R, D] of each layer at the columns int64 [N, R] of the batch.

        Args:
            batch: Sequences, after a cached prefix or not.
            layers: Layer numbers.
            columns: Which positions to keep.
            edit: Changes the input embeddings [N, S, D] before the decoder reads them.
        """
        embeds = self.adapter.embed(batch)
        with Capture(self.adapter.layers, layers, columns, self.adapter.may_skip_layers) as capture:
            self.adapter.run(embeds if edit is None else edit(embeds), batch)
        return capture.hidden

    def prefix(self, batch: Batch) -> Any:
        """One pass that keeps only keys and values."""
        return self.adapter.run(self.adapter.embed(batch), batch)

    def final_norm(self, hidden: Tensor) -> Tensor:
        """The model's norm before its head, where that norm lies."""
        normed: Tensor = self.adapter.final_norm(hidden.to(execution_device(self.adapter.final_norm)))
        return normed

    def head(self, hidden: Tensor) -> Tensor:
        """The model's head, where it lies."""
        return self.adapter.head(hidden)


def _on_cpu(features: Features) -> Features:
    return {name: value.cpu() for name, value in features.items()}


def repeat_cache(cache: Any, repeats: int) -> Any:
    """A cache for ``repeats`` rows per row of the given one, which stays as it is."""
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    if repeats != 1:
        copied.batch_repeat_interleave(repeats)
    return copied


def _bare(model: nn.Module) -> nn.Module:
    """The Hugging Face model inside what torch.compile, DDP and peft put around it."""
    model = getattr(model, "_orig_mod", model)
    if isinstance(model, nn.parallel.DistributedDataParallel):
        model = getattr(model.module, "_orig_mod", model.module)
    method: Any = getattr(model, "active_peft_config", None)
    if getattr(method, "is_prompt_learning", False):
        raise InputError(
            f"a model with peft's {method.peft_type.value}",
            "its learned prompt enters in peft's forward pass, which a probe does not run: it would see the base model",
            "probe the base model knowingly (model.get_base_model()), or use a method that changes modules, as LoRA",
        )
    unwrap = getattr(model, "get_base_model", None)
    return unwrap() if callable(unwrap) else model
