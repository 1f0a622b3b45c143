"""Readers of the kinds of files that data sets come in: rows with their numbers, and errors that name them."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fusionscope.errors import ConfigError, DataError
from fusionscope.tasks.sources.row import Row


def rows_in(source: str, split: str) -> Iterator[Row]:
    """The rows of a file, of a table in several files, or of a data set of the hub.

    Args:
        source: A file; a folder or a pattern of Parquet files; or a name on the hub.
        split: Split of a folder of Parquet files or of a data set of the hub.

    Raises:
        ConfigError: Nothing of this name, or a kind of file that is not known.
        DataError: A file is not of its kind.
    """
    path = Path(source).expanduser()
    if path.is_file():
        yield from _file(path)
    elif path.is_dir() or any(sign in path.name for sign in "*?["):
        for shard in _shards(path, split):
            yield from _file(shard)
    else:
        yield from _hub(source, split)


def _file(path: Path) -> Iterator[Row]:
    packed = path.suffix.lower() == ".gz"
    kind = (path.with_suffix("") if packed else path).suffix.lower()
    if kind not in _READERS:
        known = f"known are {', '.join(_READERS)}, all but Parquet also with .gz"
        raise ConfigError(f"{path} ends in {path.suffix!r}", known, "give such a file")
    yield from _READERS[kind](path)


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


def _content(path: Path) -> str:
    """A file's text, unpacked where it is packed."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path} row {before} is no UTF-8: {error}", "texts are UTF-8", "save the file as UTF-8"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked: {error}", "it ends in .gz", "restore the file") from error


def _json(path: Path) -> Iterator[Row]:
    text = _content(path)
    if text.lstrip().startswith("["):
        values = list(enumerate(_parsed(path, 1, text), start=1))
    else:
        # Not splitlines: JSON strings may hold the other signs that it splits at, such as U+2028.
        lines = enumerate(text.split("\n"), start=1)
        values = [(i, _parsed(path, i, line)) for i, line in lines if line.strip()]
    for number, value in values:
        if not isinstance(value, Mapping):
            raise DataError(f"{path} row {number} is {str(value)[:80]!r}", "a row is a JSON object", "correct the file")
        yield Row(source=str(path), number=number, values={str(key).strip(): cell for key, cell in value.items()})


def _parsed(path: Path, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(
            f"{path} row {number} is no JSON: {error}", "the file is a JSON list or JSON lines", "correct the file"
        ) from error


def _table(path: Path) -> Iterator[Row]:
    import io

    import pandas as pd

    text = _content(path)
    try:
        separator = "\t" if ".tsv" in path.suffixes[-2:] else ","
        frame = pd.read_csv(
            io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, header=None, skip_blank_lines=False
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(
            f"{path} is no table: {error}", "its rows have as many cells as its header", "correct it"
        ) from error
    header, *rows = frame.itertuples(index=False, name=None)
    names = [str(name).strip() for name in header]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{path} has two columns {', '.join(twice)}", "a column has one name", "correct the header")
    for number, values in enumerate(rows, start=2):
        cells = dict(zip(names, values, strict=True))
        if any(isinstance(cell, str) and cell.strip() for cell in values):
            yield Row(source=str(path), number=number, values={name: cell for name, cell in cells.items() if name})


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, images = 0, dict[bytes, bytes]()
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=64):
            for values in batch.to_pylist():
                number += 1
                row = {str(key).strip(): _shared(value, images) for key, value in values.items()}
                yield Row(source=str(path), number=number, values=row)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} after row {number}: {error}", "it ends in .parquet", "restore the file") from error


def _shared(value: Any, images: dict[bytes, bytes]) -> Any:
    """A cell; an image that stands in many rows is held once."""
    if isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes):
        return {**value, "bytes": images.setdefault(value["bytes"], value["bytes"])}
    return value


def _hub(name: str, split: str) -> Iterator[Row]:
    owner, _, configuration = name.partition(":")
    if owner.count("/") != 1 or owner.startswith((".", "/", "~")) or Path(owner).suffix in _READERS:
        raise ConfigError(
            f"no file {name!r}", "data sets are not shipped", "set path to the official file, or to a name on the hub"
        )
    import datasets

    try:
        rows = datasets.load_dataset(owner, configuration or None, split=split)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{name} is neither here nor on the hub (split {split!r})",
            str(error),
            "set path to the official file or folder, or check name and split; a data set of several configurations is "
            "named owner/name:configuration",
        ) from error
    for column, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(column, datasets.Image(decode=False))
    images: dict[bytes, bytes] = {}
    for number, values in enumerate(rows, start=1):
        row = {str(key).strip(): _shared(value, images) for key, value in values.items()}
        yield Row(source=f"{name}:{split}", number=number, values=row)


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".json": _json, ".jsonl": _json, ".ndjson": _json, ".csv": _table, ".tsv": _table, ".parquet": _parquet,
}  # fmt: skip
