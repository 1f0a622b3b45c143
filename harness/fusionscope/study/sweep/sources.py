"""Which weights a path stands for, by content: what was measured is known without loading the model again.

A sweep's directory remembers in ``sources.jsonl`` which fingerprint the weights of a source had when they were loaded,
and which hash a file had, until the file is written again.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file, extract_commit_hash

from fusionscope.errors import ConfigError, DataError
from fusionscope.records.file import ends_whole
from fusionscope.study.sweep.checkpoints import Checkpoint

_PIECE = 2**22
_SETTINGS = ("config.json", "adapter_config.json")


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file as it was when it was hashed; its state changes whenever it is written."""

    file: str
    state: tuple[int, ...]
    sha256: str


@dataclass(frozen=True, kw_only=True)
class _Model:
    """What the weights of a source were when they were loaded."""

    source: str
    dtype: str
    model: str


class Sources:
    """The digests of checkpoints' contents, and the fingerprints of the weights that they hold.

    A digest covers what decides the weights: the bytes of a stage's checkpoint (which names its base by hash), of a
    directory's weights and configuration, of an adapter and its base; of a name on the hub the commit. Hashing takes
    about a second a gigabyte, and nothing for files that were not written since.

    Args:
        path: The file that remembers; it is made by the first note.

    Raises:
        DataError: A line of it that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[tuple[str, tuple[int, ...]], str] = {}
        self._models: dict[tuple[str, str], str] = {}
        for number, line in enumerate(_whole_lines(path), start=1):
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise DataError(
                    f"{path}, line {number}: {error!r}",
                    "it holds one JSON object a line: a file with its hash, or a source with its model",
                    "delete the file: it only saves time, and is made again",
                ) from error

    def digest(self, checkpoint: Checkpoint) -> str:
        """The digest of a checkpoint's content.

        Raises:
            ConfigError: A name on the hub that cannot be reached.
        """
        digest = hashlib.sha256(checkpoint.kind.encode())
        for part in self._parts(checkpoint):
            digest.update(f"\0{part}".encode())
        return digest.hexdigest()

    def model_of(self, digest: str, dtype: str) -> str | None:
        """The fingerprint that the weights of a source had, or None where they were never loaded here.

        Args:
            digest: Of the source.
            dtype: The dtype that they were asked for in.
        """
        return self._models.get((digest, dtype))

    def note(self, digest: str, dtype: str, model: str) -> None:
        """Remember the fingerprint of a source's weights."""
        if self.model_of(digest, dtype) != model:
            self._models[digest, dtype] = model
            self._append({"source": digest, "dtype": dtype, "model": model})

    def _take(self, row: dict[str, Any]) -> None:
        if "file" in row:
            file = _File(**{**row, "state": tuple(row["state"])})
            self._files[file.file, file.state] = file.sha256
        else:
            model = _Model(**row)
            self._models[model.source, model.dtype] = model.model

    def _parts(self, checkpoint: Checkpoint) -> Iterator[str]:
        path = Path(checkpoint.path)
        if checkpoint.kind == "stage":
            files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
            yield from (self._file(file, path) for file in files)
            return
        yield from self._model(checkpoint.path)
        if checkpoint.kind == "adapter":
            settings = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
            yield "base"
            yield from self._model(str(settings["base_model_name_or_path"]), settings.get("revision"))

    def _model(self, name: str, revision: str | None = None) -> Iterator[str]:
        path = Path(name)
        if not path.is_dir():
            yield f"hub:{name}@{_commit(name, revision)}"
            return
        weights = sorted(path.glob("*.safetensors")) or sorted(path.glob("*.bin"))
        settings = [path / name for name in _SETTINGS if (path / name).is_file()]
        yield from (self._file(file, path) for file in (*weights, *sorted(path.glob("*.index.json")), *settings))

    def _file(self, file: Path, folder: Path) -> str:
        """A file's name in its folder, and its hash."""
        name = file.relative_to(folder).as_posix() if file != folder else ""
        return f"{name}:{self._sha256(file)}"

    def _sha256(self, file: Path) -> str:
        where = str(file.resolve())
        state = _state(file)
        if (where, state) not in self._files:
            digest = hashlib.sha256()
            with file.open("rb") as opened:
                while piece := opened.read(_PIECE):
                    digest.update(piece)
            if _state(file) != state:
                raise DataError(
                    f"{file} was written while it was read",
                    "a checkpoint that still changes stands for no weights",
                    "probe it when it is whole",
                )
            self._files[where, state] = digest.hexdigest()
            self._append({"file": where, "state": list(state), "sha256": digest.hexdigest()})
        return self._files[where, state]

    def _append(self, row: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            if not ends_whole(file):
                file.truncate(sum(map(len, _whole_lines(self.path))))
            file.write(json.dumps(row).encode() + b"\n")


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that were written to their end; [] where there is no file."""
    if not path.exists():
        return []
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _state(file: Path) -> tuple[int, ...]:
    """What changes whenever a file is written: nobody but the system sets the time of its last change."""
    status = file.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _commit(name: str, revision: str | None) -> str:
    """The commit that a name on the hub stands for now."""
    try:
        settings = {} if revision is None else {"revision": revision}
        commit = extract_commit_hash(cached_file(name, "config.json", **settings), None)
    except OSError as error:
        raise ConfigError(
            f"model={name!r} cannot be loaded",
            str(error).splitlines()[0],
            "give a directory written by save_pretrained (or by fusionscope export), or a name on the model hub",
        ) from error
    return str(commit)
