"""Models of checkpoints, one after the other: a base is loaded once, then only the weights that change."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from fusionscope.errors import ConfigError
from fusionscope.lvlm import LVLM
from fusionscope.stages import VLMStage
from fusionscope.stages.checkpoint import KEY, read
from fusionscope.stages.files import check_whole
from fusionscope.stages.rebuild import rebuild
from fusionscope.study.sweep.checkpoints import Checkpoint

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Models:
    """Loads checkpoints; keeps the last base.

    Args:
        device: Where models go, or ``"auto"`` to spread a large one.
        dtype: Dtype of Hugging Face models; ``"auto"`` is the stored one. Stage checkpoints keep their stage's.
        trust: Import whatever class a checkpoint names, see `fusionscope.trust`.

    Raises:
        ConfigError: A device that is not here, or no dtype.
    """

    def __init__(self, *, device: str = "cpu", dtype: str = "auto", trust: bool = False) -> None:
        _check(device, dtype)
        self.device = device
        self.dtype = dtype
        self.trust = trust
        self.loads = 0
        self._autocast: torch.dtype | None = None
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
        self._autocast = None
        return loaders[checkpoint.kind](checkpoint)

    def precision(self) -> AbstractContextManager[Any]:
        """The autocast that the stage loaded last was trained under, and is probed under; none for whole models."""
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, self._autocast)

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
        saved = read(checkpoint.path, trust=self.trust)
        stage = rebuild(saved, file=checkpoint.path, base=checkpoint.base, trust=self.trust)
        about = saved[KEY]
        key = ("stage", about["stage"], repr(about["settings"]), about["base_hash"], stage.base)
        if self._key != key or self._stage is None:
            if self.device == "auto":
                raise ConfigError(
                    f"{checkpoint.path} on device 'auto'",
                    "a stage's checkpoint goes to one device; only whole Hugging Face models are spread",
                    "name a device, or `fusionscope export` it and probe the export",
                )
            self._forget()
            self._stage = stage
            self._stage.configure_model()
            self._stage.to(self.device)
            self.loads += 1
            self._key = key
        self._autocast = _AUTOCAST.get(about["precision"])
        self._stage.on_load_checkpoint(saved)
        self._stage.load_state_dict(saved["state_dict"])
        self._stage.eval()
        return self._stage.lvlm

    def _from_pretrained(self, name: str) -> LVLM:
        self.loads += 1
        check_whole(name)
        where = {"device_map": "auto"} if self.device == "auto" else {}
        lvlm = LVLM.from_pretrained(name, dtype=self.dtype, **where)
        lvlm.model.eval()
        if self.device != "auto":
            lvlm.model.to(self.device)
        return lvlm

    def _forget(self) -> None:
        """Free the present model before the next is loaded: two might not fit."""
        self._key = self._stage = self._lvlm = self._base = None


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
