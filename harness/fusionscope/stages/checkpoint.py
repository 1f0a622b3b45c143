"""Checkpoints that hold what was trained: which keys, of which base model, and an exact check when they are loaded."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile, is_zipfile

import torch
from torch import Tensor, nn

from fusionscope.errors import DataError, MissingDependencyError
from fusionscope.parallel import all_gather
from fusionscope.records.digests import verify
from fusionscope.stages.config import LoraSettings
from fusionscope.stages.files import unreadable
from fusionscope.stages.settings import encode
from fusionscope.trust import class_path

if TYPE_CHECKING:
    from fusionscope.stages.base import VLMStage

KEY = "fusionscope"
"""Where a checkpoint says which stage, base, parts and keys it belongs to."""
FORMAT = 2
"""Version of what stands there."""
_BLOCK = 4096
_BLOCKS = 4096


def read(path: str | os.PathLike[str], *, trust: bool = False) -> dict[str, Any]:
    """A checkpoint of a stage as a dictionary: a file, or the directory of shards that DeepSpeed writes.

    Args:
        path: The checkpoint.
        trust: Read a directory: DeepSpeed unpickles its shards, which can run any code.

    Returns:
        What the stage saved; ``state_dict`` holds the trained weights, in float32 where DeepSpeed kept them so.

    Raises:
        MissingDependencyError: A directory, without DeepSpeed.
        DataError: A checkpoint that is torn or changed, or a directory that is not trusted or that DeepSpeed did not
            write, or not to the end.
    """
    place = Path(path)
    if place.is_dir() and (place / "latest").is_file():
        _check_deepspeed(place, trust)
    saved = read_state(place)
    if place.is_dir():
        saved["state_dict"] = _put_together(place)
    if "ds_version" in saved and KEY in saved:  # DeepSpeed adds every buffer
        saved["state_dict"] = keep(saved["state_dict"], set(saved[KEY]["keys"]))
    return saved


def read_state(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself; of DeepSpeed's directories that is all but the trained weights.

    Args:
        path: The checkpoint.

    Raises:
        DataError: It is torn or changed, or no checkpoint.
    """
    whole = verify(path)
    file = _states_of(path) if path.is_dir() else path
    try:
        if not whole and is_zipfile(file):  # without a digest its archive's own checksums have to do
            _check_archive(file)
        saved = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        if not isinstance(saved, dict) or not isinstance(saved.get("state_dict", {}), dict):
            raise DataError(f"{file} holds no state_dict", "a checkpoint of a stage does", "name another file")
    except Exception as error:  # whatever a torn pickle or archive makes of its reader
        raise unreadable(file, error) from error
    return saved


def _check_archive(file: Path) -> None:
    with ZipFile(file) as archive:
        torn = archive.testzip()
    if torn is not None:
        raise DataError(
            f"{file} is torn or changed: {torn} inside it differs from its checksum",
            "",
            "copy it again, or name another",
        )


def _states_of(directory: Path) -> Path:
    tag = directory / "latest"
    if not tag.is_file():
        raise DataError(
            f"{directory} is no checkpoint",
            "DeepSpeed's directories hold a file `latest`",
            "give one that a stage saved",
        )
    return directory / tag.read_text().strip() / "mp_rank_00_model_states.pt"


def _check_deepspeed(directory: Path, trust: bool) -> None:
    if find_spec("deepspeed") is None:
        raise MissingDependencyError(
            f"{directory} holds the shards of a DeepSpeed run",
            "deepspeed, which puts them together, is not installed",
            "pip install deepspeed, or make a file of it where that is installed: lightning.pytorch.utilities."
            "deepspeed.convert_zero_checkpoint_to_fp32_state_dict(directory, file)",
        )
    if not trust:
        raise DataError(
            f"{directory} holds the shards of a DeepSpeed run",
            "DeepSpeed unpickles them, and a pickle can run any code",
            "if you trust who wrote it (it is your own), say --trust",
        )


def _put_together(directory: Path) -> dict[str, Tensor]:
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    try:
        with redirect_stdout(io.StringIO()):
            return dict(get_fp32_state_dict_from_zero_checkpoint(str(directory)))
    except Exception as error:  # as above
        raise unreadable(directory, error) from error


def stamp(checkpoint: dict[str, Any], stage: VLMStage) -> None:
    """Leave the weights that are not trained out of a checkpoint, and note what it takes to build and resume its stage.

    Every process must call it.

    Args:
        checkpoint: What Lightning is about to save; changed in place.
        stage: The stage.
    """
    keys = trained_keys(stage)
    checkpoint["state_dict"] = keep(checkpoint["state_dict"], keys)
    cuda = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    checkpoint[KEY] = {
        "format": FORMAT,
        "stage": class_path(type(stage)),
        "settings": {name: encode(value, name) for name, value in stage.settings().items()},
        "precision": str(stage.trainer.precision),
        "base": stage.base,
        "base_hash": stage.base_hash,
        "parts": {name: asdict(part) for name, part in stage.parts.items()},
        "lora": asdict(stage.lora),
        "keys": sorted(keys),
        "rng": all_gather({"cpu": torch.get_rng_state(), "cuda": cuda}),
    }


def check(checkpoint: dict[str, Any], stage: VLMStage) -> list[dict[str, Any]]:
    """Refuse a checkpoint that does not belong to a stage.

    Args:
        checkpoint: What was saved.
        stage: The stage that loads it.

    Returns:
        The random state of every rank when it was saved.

    Raises:
        DataError: It belongs to another base model, or to a stage that trains something else.
    """
    if KEY not in checkpoint:
        raise DataError(
            "the checkpoint was not saved by a fusionscope stage",
            "it doesn't say which base model its weights belong to",
            "give one that a stage has saved",
        )
    about = checkpoint[KEY]
    check_base(about, stage.base, stage.base_hash)
    check_keys(about["keys"], trained_keys(stage), set(stage.state_dict()))
    check_adapters(about, stage.lora)
    states: list[dict[str, Any]] = about["rng"]
    return states


def restore_random_state(states: list[dict[str, Any]], rank: int) -> None:
    """Continue the random streams of a rank.

    Args:
        states: One per rank, as `check` returns them; with fewer ranks than now they are taken in turn.
        rank: This process.
    """
    state = states[rank % len(states)]
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"][0].cpu())


def trained_keys(module: nn.Module) -> set[str]:
    """Keys of the state dict that training changes: parameters with gradient and the buffers beside them.

    A tied weight is named under each of its names.

    Args:
        module: The module whose state dict is meant.
    """
    state = module.state_dict(keep_vars=True)
    trained = {name for name, value in state.items() if isinstance(value, nn.Parameter) and value.requires_grad}
    owners = {name.rpartition(".")[0] for name in trained}
    buffers = {name for name, value in state.items() if not isinstance(value, nn.Parameter)}
    return trained | {name for name in buffers if name.rpartition(".")[0] in owners}


def check_shapes(given: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Refuse weights that are none, or of another shape.

    Args:
        given: Weights of the checkpoint; keys that the module does not have are not looked at.
        state: The module's state dict.

    Raises:
        DataError: Names the first such weight.
    """
    for name, value in given.items():
        if name not in state:
            continue
        if not isinstance(value, Tensor) or value.shape != state[name].shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise DataError(
                f"the checkpoint's {name} is {shape}, the stage's {tuple(state[name].shape)}",
                "it belongs to another model",
                "load it with the model and the settings (lora.rank) that it was saved with",
            )


def check_keys(given: Iterable[str], trained: set[str], every: set[str]) -> None:
    """Refuse a checkpoint whose keys are neither exactly the trained ones nor exactly all.

    Args:
        given: Keys of the checkpoint.
        trained: Keys that this stage trains.
        every: All keys of the module.

    Raises:
        DataError: Keys are missing or unexpected.
    """
    keys = set(given)
    if keys in (trained, every):
        return
    missing, unexpected = sorted(trained - keys), sorted(keys - trained)
    raise DataError(
        f"the checkpoint misses {len(missing)} trained weights ({_some(missing)}) "
        f"and holds {len(unexpected)} that this stage does not train ({_some(unexpected)})",
        "a checkpoint holds exactly what its stage trains; anything else would leave weights untrained without a word",
        "load it with the stage settings (tune types, lora) that it was saved with",
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "") if names else "none"


def fingerprint(model: str, commit: str | None = None) -> str:
    """A short name for the exact weights that a stage starts from.

    Args:
        model: A Hugging Face directory or hub name.
        commit: Commit of the hub repository, where the model came from there.

    Returns:
        The commit for a hub model; for a directory the SHA-256 of its weight files' names, sizes and contents, of
        which files above 16 MiB are read in 4,096 evenly spaced blocks (all of a 14 GB model takes a minute). Weight
        files are those that transformers takes: safetensors, or ``.bin`` files where there are none.

    Raises:
        DataError: The directory has no weight files.
    """
    if not Path(model).is_dir():
        return f"commit:{commit}"
    files = sorted(Path(model).glob("*.safetensors")) or sorted(Path(model).glob("*.bin"))
    if not files:
        raise DataError(
            f"{model} has no weight files",
            "they tell one base model from another: *.safetensors, or *.bin",
            "give the directory that holds them",
        )
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(_BLOCK, size // _BLOCKS)):
                file.seek(start)
                digest.update(file.read(_BLOCK))
    return f"sha256:{digest.hexdigest()}"


def check_base(saved: dict[str, Any], model: str | os.PathLike[str], loaded: str) -> None:
    """Refuse trained weights that belong to another base model.

    Args:
        saved: What the checkpoint says of its base: ``base`` and ``base_hash``.
        model: The model that the stage has loaded.
        loaded: Its fingerprint.

    Raises:
        DataError: The fingerprints differ.
    """
    if saved["base_hash"] != loaded:
        raise DataError(
            f"the checkpoint was trained on {saved['base']} ({saved['base_hash'][:20]}), "
            f"the stage loaded {model} ({loaded[:20]})",
            "trained weights mean nothing on another base model",
            "set model to the base of the checkpoint",
        )


def check_adapters(saved: dict[str, Any], lora: LoraSettings) -> None:
    """Refuse adapters that would be scaled otherwise than they were trained.

    Args:
        saved: What the checkpoint says of its stage: ``parts`` and ``lora``.
        lora: Settings of the stage that loads it.

    Raises:
        DataError: Rank or alpha differ.
    """
    adapted = any(part["tune"] == "lora" for part in saved["parts"].values())
    then, now = (saved["lora"]["rank"], saved["lora"]["alpha"]), (lora.rank, lora.alpha)
    if adapted and then != now:
        raise DataError(
            f"the checkpoint's adapters have rank {then[0]} and alpha {then[1]}, the stage's rank {now[0]} and alpha "
            f"{now[1]}",
            "adapters count for alpha / rank: with another they are another model",
            f"set lora.rank to {then[0]} and lora.alpha to {then[1]}",
        )


def keep(state: dict[str, Tensor], keys: set[str]) -> dict[str, Tensor]:
    """The entries of a state dict under the given keys, in its order."""
    return {key: value for key, value in state.items() if key in keys}
