"""Readers of the kinds of files that data sets come in: rows with their numbers, and errors that name them."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fusionscope.errors import ConfigError, DataError
from fusionscope.tasks.sources.delimited import delimited_rows
from fusionscope.tasks.sources.json_file import json_rows
from fusionscope.tasks.sources.row import Row

HUB = "hub:"
"""Begins the name of a data set on the hub: what is meant to be here is never looked up there."""


def rows_in(source: str, split: str) -> Iterator[Row]:
    """The rows of a file, of a table in several files, or of a data set of the hub.

    Args:
        source: A file; a folder or a pattern of Parquet files; or ``hub:owner/name`` or
            ``hub:owner/name:configuration``.
        split: Split of a folder of Parquet files or of a data set of the hub.

    Raises:
        ConfigError: Nothing of this name, or a kind of file that is not known.
        DataError: A file is not of its kind.
    """
    path = Path(source).expanduser()
    if source.startswith(HUB):
        yield from _hub(source, split)
    elif path.is_file():
        yield from _file(path)
    elif path.is_dir() or any(sign in path.name for sign in "*?["):
        for shard in _shards(path, split):
            yield from _file(shard)
    else:
        raise missing(source)


def missing(source: str) -> ConfigError:
    """What to say of a path at which there is nothing.

    >>> missing("owner/name").fix
    'correct the path; a data set of the hub is named hub:owner/name'
    """
    on_hub = source if source.count("/") == 1 else "owner/name"
    return ConfigError(
        f"no file {source!r}",
        "data sets are not shipped, and a path is never looked up on the hub",
        f"correct the path; a data set of the hub is named {HUB}{on_hub}",
    )


def hub_name(source: str) -> tuple[str, str | None]:
    """Owner and name, and the configuration, of ``hub:owner/name:configuration``.

    Raises:
        ConfigError: It is not of this form, or a folder here has its name, which `datasets` would read in its place.
    """
    name, _, configuration = source.removeprefix(HUB).partition(":")
    if name.count("/") != 1 or not all(name.split("/")) or name.startswith((".", "~")):
        raise ConfigError(f"{source!r}", "a data set of the hub is named hub:owner/name", "correct the name")
    if Path(name).exists():
        raise ConfigError(
            f"{source!r} is a folder here as well", "it would be read in the hub's place", "start from another folder"
        )
    return name, configuration or None


def _file(path: Path) -> Iterator[Row]:
    packed = path.suffix.lower() == ".gz"
    kind = (path.with_suffix("") if packed else path).suffix.lower()
    if kind not in _READERS or (packed and kind == ".parquet"):
        known = f"known are {', '.join(_READERS)}, all but Parquet also with .gz"
        raise ConfigError(f"{path} ends in {path.suffix!r}", known, "give such a file")
    for number, values in _READERS[kind](path):
        yield Row(source=str(path), number=number, values={str(key).strip(): cell for key, cell in values.items()})


def _shards(path: Path, split: str) -> list[Path]:
    """The Parquet files of a split, as the hub names them: ``test-00000-of-00003.parquet``."""
    if not path.is_dir():
        files = sorted(path.parent.glob(path.name))
    else:
        names = (f"{split}.parquet", f"{split}-*.parquet")
        files = sorted(file for folder in (path, path / "data") for name in names for file in folder.glob(name))
    if not files:
        here = sorted(file.name for file in (path if path.is_dir() else path.parent).glob("*"))[:12]
        raise ConfigError(
            f"{path} has no files of the split {split!r}",
            f"a folder holds {split}-*.parquet, in itself or in data; here are {', '.join(here) or 'no files'}",
            "name the file, or the split",
        )
    return files


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow.parquet as pq

    number, images = 0, dict[bytes, bytes]()
    try:
        file = pq.ParquetFile(path)
        _check_columns(str(path), file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=64):
            for values in batch.to_pylist():
                number += 1
                yield number, {key: _shared(value, images) for key, value in values.items()}
    except DataError:
        raise
    except Exception as error:  # of damaged bytes Arrow raises anything
        raise DataError(f"{path} after row {number}: {error}", "it ends in .parquet", "restore the file") from error


def _check_columns(source: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{source} has two columns {', '.join(twice)}", "a column has one name", "rename one of them")


def _shared(value: Any, images: dict[bytes, bytes]) -> Any:
    """A cell; an image that stands in many rows is held once."""
    if isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes):
        return {**value, "bytes": images.setdefault(value["bytes"], value["bytes"])}
    return value


def _hub(source: str, split: str) -> Iterator[Row]:
    import datasets

    name, configuration = hub_name(source)
    try:
        rows = datasets.load_dataset(name, configuration, split=split)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{source} cannot be loaded (split {split!r})",
            str(error),
            "check name, split and connection; a data set of several configurations is named "
            f"{HUB}owner/name:configuration",
        ) from error
    for column, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(column, datasets.Image(decode=False))
    images: dict[bytes, bytes] = {}
    for number, values in enumerate(rows, start=1):
        row = {str(key).strip(): _shared(value, images) for key, value in values.items()}
        yield Row(source=f"{source}:{split}", number=number, values=row)


_READERS: dict[str, Callable[[Path], Iterator[tuple[int, Mapping[str, Any]]]]] = {
    ".json": json_rows,
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".csv": partial(delimited_rows, separator=","),
    ".tsv": partial(delimited_rows, separator="\t"),
    ".parquet": _parquet,
}
