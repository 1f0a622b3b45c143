"""One interface to every vision-language model: wrap it, show it images, read its hidden states."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

import fusionscope.lvlm.families  # noqa: F401  (registers the adapters)
from fusionscope.errors import ConfigError, InputError, UnknownNameError
from fusionscope.lvlm.adapter import Adapter, Features, adapter_for
from fusionscope.lvlm.batch import Batch
from fusionscope.lvlm.capture import Capture
from fusionscope.lvlm.features import FeatureCache
from fusionscope.lvlm.fingerprint import weights_fingerprint
from fusionscope.lvlm.offload import execution_device
from fusionscope.lvlm.prompt import Prompt


class LVLM:
    """A Hugging Face vision-language model and its processor, seen through the adapter of its family.

    It holds the model, it does not own it: nothing is registered, copied or changed, so the same model can be trained
    by somebody else at the same time. `model` may be assigned anew (after peft wrapped it, say).

    Args:
        model: The model, as AutoModelForImageTextToText builds it; wrapped by peft or DDP or compiled or not.
        processor: Anything with ``tokenizer`` and ``image_processor``, and with ``chat_template`` unless the tokenizer
            has one.

    Raises:
        UnknownNameError: No adapter for the model's type.
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
        self._model = model
        self.adapter: Adapter = adapter_for(_bare(model), self.processor)

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
            if wanted and all(isinstance(one, int) and -len(every) <= one < len(every) for one in wanted):
                return tuple(sorted({every[one] for one in wanted}))
        raise UnknownNameError(
            f"layers {layers!r}",
            f"the model has layers 0 (input embeddings) to {self.n_layers} (last decoder layer)",
            "give 'all', 'last', a number or a list of numbers in this range",
        )

    def prompt(self, text: str, candidates: Sequence[str]) -> Prompt:
        """Tokens of a user's turn and of the candidates that may follow it."""
        return self.adapter.chat.prompt(text, candidates)

    @torch.no_grad()
    def look(
        self,
        images: Sequence[Any],
        keys: Sequence[str] | None = None,
        cache: FeatureCache | None = None,
        at_once: int = 32,
    ) -> list[Features]:
        """Images to embeddings in the language model's space, kept on the CPU: only a batch's go to its device.

        Nothing of the towers' graph is kept: for gradients use the adapter's `look` and `project`.

        Args:
            images: A sequence of PIL images; only those that the cache lacks are opened.
            keys: What identifies each image in the cache.
            cache: Features of earlier calls.
            at_once: Images per pass through the tower.
        """
        seen = self._looked(images, keys, cache, at_once)
        chunks = (seen[start : start + at_once] for start in range(0, len(seen), at_once))
        return [_on_cpu(one) for chunk in chunks for one in self.adapter.project(chunk)]

    def _looked(
        self, images: Sequence[Any], keys: Sequence[str] | None, cache: FeatureCache | None, at_once: int
    ) -> list[Features]:
        mark = ""
        if cache is not None and keys is not None:
            mark = f"{weights_fingerprint(self.adapter.seeing_parts)} {self.adapter.sight}"
        found: list[Features | None] = [None] * len(images)
        if cache is not None and keys is not None:
            found = [cache.get((mark, key)) for key in keys]
        missing = [i for i, one in enumerate(found) if one is None]
        for start in range(0, len(missing), at_once):
            chunk = missing[start : start + at_once]
            fresh = self.adapter.look(self.adapter.process([images[i] for i in chunk]))
            for i, one in zip(chunk, map(_on_cpu, fresh), strict=True):
                found[i] = one
                if cache is not None and keys is not None:
                    cache.put((mark, keys[i]), one)
        return [one for one in found if one is not None]

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
