"""Models of checkpoints, one after the other: a base is loaded once, then only the weights that change."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from fusionscope.errors import ConfigError, DataError
from fusionscope.lvlm import LVLM
from fusionscope.stages import LoraSettings, PartConfig, VLMStage
from fusionscope.stages.checkpoint import KEY, read
from fusionscope.study.sweep.checkpoints import Checkpoint, read_config

_AUTOCAST = {
    "bf16-mixed": torch.bfloat16, "bf16": torch.bfloat16, "16-mixed": torch.float16, "16": torch.float16
}  # fmt: skip
_PLAIN = ("VLMStage", "AlignmentPretraining", "VisualInstructionTuning")


class Models:
    """Loads checkpoints; keeps the last base.

    Args:
        device: Where models go, or ``"auto"`` to spread a large one.
        dtype: Dtype of Hugging Face models; ``"auto"`` is the stored one. Stage checkpoints keep their stage's.

    Raises:
        ConfigError: A device that is not here, or no dtype.
    """

    def __init__(self, *, device: str = "cpu", dtype: str = "auto") -> None:
        _check(device, dtype)
        self.device, self.dtype = device, dtype
        self.loads = 0
        self._key: tuple[Any, ...] | None = None
        self._stage: VLMStage | None = None
        self._lvlm: LVLM | None = None
        self._base: Any = None

    def load(self, checkpoint: Checkpoint) -> LVLM:
        """The model with a checkpoint's weights; the one handed out before holds them too from now on.

        Raises:
            DataError: A file that no stage of ours saved, or weights of another base.
            ConfigError: A stage's checkpoint that is to be spread over devices.
        """
        loaders = {"stage": self._load_stage, "model": self._load_model, "adapter": self._load_adapter}
        return loaders[checkpoint.kind](checkpoint)

    def precision(self, checkpoint: Checkpoint) -> AbstractContextManager[Any]:
        """The autocast that a stage was trained under, and probed under by its callback; none for whole models."""
        config = read_config(checkpoint.config).get("trainer") or {}
        dtype = _AUTOCAST.get(str(config.get("precision"))) if checkpoint.kind == "stage" else None
        return torch.autocast(torch.device(self.device).type, dtype) if dtype else nullcontext()

    def export(self, checkpoint: Checkpoint, directory: str | os.PathLike[str]) -> None:
        """Write the whole model of a checkpoint, adapters merged, and its processor as a Hugging Face directory.

        Raises:
            DataError: See `load`.
        """
        lvlm = self.load(checkpoint)
        if checkpoint.kind == "stage" and self._stage is not None:
            self._stage.export(os.fspath(directory))
            return
        model: Any = lvlm.model
        if checkpoint.kind == "adapter":
            model, self._key = model.merge_and_unload(), None  # the kept base now holds the adapter: load it anew
        model.save_pretrained(directory)
        lvlm.processor.save_pretrained(directory)

    def _load_model(self, checkpoint: Checkpoint) -> LVLM:
        key = ("model", checkpoint.path)
        if self._key != key or self._lvlm is None:
            self._forget()
            self._lvlm = self._from_pretrained(checkpoint.path)
            self._key = key
        return self._lvlm

    def _load_adapter(self, checkpoint: Checkpoint) -> LVLM:
        from peft import PeftConfig, PeftModel

        name = str(PeftConfig.from_pretrained(checkpoint.path).base_model_name_or_path)
        key = ("adapter", name)
        if self._key != key or self._lvlm is None:
            self._forget()
            self._lvlm = self._from_pretrained(name)
            self._base, self._key = self._lvlm.model, key
        elif isinstance(self._lvlm.model, PeftModel):
            self._base = self._lvlm.model.unload()
        self._lvlm.model = PeftModel.from_pretrained(self._base, checkpoint.path).eval()
        return self._lvlm

    def _load_stage(self, checkpoint: Checkpoint) -> LVLM:
        saved = read(checkpoint.path)
        if KEY not in saved:
            raise DataError(
                f"{checkpoint.path} was not saved by a fusionscope stage",
                "it doesn't say which base model its weights belong to",
                "give a Hugging Face directory, or a checkpoint that a stage has saved",
            )
        about = saved[KEY]
        key = ("stage", about["base"], about["base_hash"], repr(about["parts"]), repr(about["lora"]), checkpoint.config)
        if self._key != key or self._stage is None:
            if self.device == "auto":
                raise ConfigError(
                    f"{checkpoint.path} on device 'auto'",
                    "a stage's checkpoint goes to one device; only whole Hugging Face models are spread",
                    "name a device, or `fusionscope export` it and probe the export",
                )
            self._forget()
            self._stage = _build(checkpoint, about)
            self._stage.configure_model()
            self._stage.to(self.device)
            self.loads += 1
            self._key = key
        self._stage.on_load_checkpoint(saved)
        self._stage.load_state_dict(saved["state_dict"])
        self._stage.eval()
        return self._stage.lvlm

    def _from_pretrained(self, name: str) -> LVLM:
        self.loads += 1
        where = {"device_map": "auto"} if self.device == "auto" else {}
        lvlm = LVLM.from_pretrained(name, dtype=self.dtype, **where)
        lvlm.model.eval()
        if self.device != "auto":
            lvlm.model.to(self.device)
        return lvlm

    def _forget(self) -> None:
        """Free the present model before the next is loaded: two might not fit."""
        self._key = self._stage = self._lvlm = self._base = None


def _build(checkpoint: Checkpoint, about: dict[str, Any]) -> VLMStage:
    """The stage that a checkpoint belongs to: as the checkpoint itself says, or by the stage's configuration where its
    class builds a model of its own."""
    config = read_config(checkpoint.config)
    if about["stage"] in _PLAIN:
        parts: dict[str, Any] = {name: PartConfig(**part) for name, part in about["parts"].items()}
        told = config.get("model", {}).get("init_args", {})
        more = {name: told[name] for name in ("dtype", "attention") if name in told}
        return VLMStage(str(checkpoint.base or about["base"]), **parts, lora=LoraSettings(**about["lora"]), **more)
    if not config:
        raise DataError(
            f"{checkpoint.path} is of a {about['stage']}, which builds its model itself",
            "its settings are in the stage's config.yaml, which is not beside the folder of the checkpoint",
            "keep checkpoints in the run directory that they were saved in",
        )
    return _from_config(checkpoint, config)


def _from_config(checkpoint: Checkpoint, config: dict[str, Any]) -> VLMStage:
    from jsonargparse import ArgumentError, ArgumentParser

    model = config["model"]
    if "model" in model.get("init_args", {}) and checkpoint.base is not None:
        model["init_args"]["model"] = os.fspath(checkpoint.base)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(VLMStage, "model")
    # A stage without a seed of its own takes the global one, which `fusionscope fit` sets before it builds the model.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(config))
        try:
            stage: VLMStage = parser.instantiate_classes(parser.parse_object({"model": model})).model
        except ArgumentError as error:
            raise DataError(
                f"{checkpoint.config} does not fit this version of its stage",
                str(error).splitlines()[-1].strip(" -"),
                "probe with the version that trained it, or correct the file",
            ) from error
    return stage


def _seed(config: dict[str, Any]) -> int:
    seed = config.get("seed_everything", 0)
    return int(seed) if not isinstance(seed, bool) and seed is not None else 0


def _check(device: str, dtype: str) -> None:
    if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ConfigError(f"dtype {dtype!r}", "torch knows none of that name", "such as auto, bfloat16 or float32")
    if device == "auto":
        return
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r}", "torch knows none of that name", "cpu, cuda, cuda:1 or auto") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {device!r}", f"torch sees {torch.cuda.device_count()} GPUs here", "name one of these, or cpu"
        )


def default_device() -> str:
    """The first GPU, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"
