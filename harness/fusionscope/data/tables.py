"""Rows of the official files, whatever their kind, with their place in the file for messages."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from fusionscope.errors import ConfigError, DataError

_MISSING = ("", "nan", "none", "null")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row and where it stands.

    Args:
        source: File or hub name.
        number: Line of the file (tables: the header is line 1), or place in the list, from 1.
        values: Column to value, names without stray blanks.
    """

    source: str
    number: int
    values: Mapping[str, Any]

    def fail(
        self, column: str, why: str, fix: str = "correct the row, or give a file of the official format"
    ) -> NoReturn:
        """Refuse the row.

        Raises:
            DataError: Always; it names the file, the row and the column.
        """
        given = self.values.get(column, "(no such column)")
        shown = repr(given) if len(repr(given)) < 200 else f"{repr(given)[:200]}..."
        raise DataError(f"{self.source} row {self.number} column {column!r}: {shown}", why, fix)

    def text(self, column: str) -> str:
        """A column as text without stray blanks; numbers are written out.

        Raises:
            DataError: The column is missing or empty.
        """
        value = self.optional(column)
        if value is None:
            self.fail(column, "a text is needed here")
        return value

    def optional(self, column: str) -> str | None:
        """A column as text without stray blanks, or None where it is missing, empty or "nan"."""
        value = self.values.get(column)
        if value is None or isinstance(value, dict | list):
            return None
        text = " ".join(str(value).split()) if not isinstance(value, bool) else ("yes" if value else "no")
        return None if text.lower() in _MISSING else text

    def choice(self, column: str, choices: Sequence[str]) -> int:
        """Which of the choices a column holds, capital letters and stray blanks or full stops aside.

        Raises:
            DataError: None of them.
        """
        value = self.text(column).rstrip(".").lower()
        known = [one.lower() for one in choices]
        if value not in known:
            self.fail(column, f"it is one of {', '.join(choices)}")
        return known.index(value)


def read(source: str, columns: Sequence[str], *, split: str = "test") -> list[Row]:
    """Read a file, or a data set of the hub.

    Args:
        source: ``.json`` (a list, or lines), ``.jsonl``, ``.csv``, ``.tsv``, ``.parquet``, or a name on the hub
            (``"owner/name"``).
        columns: Columns that must be there.
        split: Split of a data set of the hub.

    Raises:
        ConfigError: No such file, or a kind that is not known.
        DataError: The file is not of its kind, holds no rows, or lacks columns.
    """
    rows = list(_rows(source, split))
    if not rows:
        raise DataError(f"{source} holds no rows", "a task needs some", "give a file of the official format")
    for row in rows:
        missing = [column for column in columns if column not in row.values]
        if missing:
            raise DataError(
                f"{source} row {row.number} has no column {', '.join(map(repr, missing))}",
                f"the official format has {', '.join(columns)}; this row has {', '.join(map(str, row.values))}",
                "give a file of the official format",
            )
    return rows


def _rows(source: str, split: str) -> Iterator[Row]:
    path = Path(source)
    if not path.is_file():
        yield from _hub(source, split)
        return
    readers = {".json": _json, ".jsonl": _json, ".csv": _table, ".tsv": _table, ".parquet": _parquet}
    if path.suffix.lower() not in readers:
        raise ConfigError(f"{source} ends in {path.suffix!r}", f"known are {', '.join(readers)}", "give such a file")
    yield from readers[path.suffix.lower()](path)


def _json(path: Path) -> Iterator[Row]:
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        values = [(i, value) for i, value in enumerate(_parsed(path, 1, text), start=1)]
    else:
        lines = enumerate(text.splitlines(), start=1)
        values = [(i, _parsed(path, i, line)) for i, line in lines if line.strip()]
    for number, value in values:
        if not isinstance(value, Mapping):
            raise DataError(f"{path} row {number} is {str(value)[:80]!r}", "a row is a JSON object", "correct the file")
        yield Row(source=str(path), number=number, values={str(key).strip(): one for key, one in value.items()})


def _parsed(path: Path, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(
            f"{path} row {number} is no JSON: {error}", "the file is a JSON list or JSON lines", "correct the file"
        ) from error


def _table(path: Path) -> Iterator[Row]:
    import pandas as pd

    try:
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is no table: {error}", "it must be UTF-8 with one header line", "correct it"
        ) from error
    names = [str(name).strip() for name in frame.columns]
    for number, values in enumerate(frame.itertuples(index=False, name=None), start=2):
        yield Row(source=str(path), number=number, values=dict(zip(names, values, strict=True)))


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    for number, values in enumerate(pq.read_table(path).to_pylist(), start=1):
        yield Row(source=str(path), number=number, values=values)


def _hub(name: str, split: str) -> Iterator[Row]:
    if name.count("/") != 1 or name.startswith((".", "/")) or Path(name).suffix:
        raise ConfigError(
            f"no file {name!r}", "data sets are not shipped", "set path to the official file, or to a name on the hub"
        )
    from datasets import load_dataset

    try:
        found = load_dataset(name, split=split)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{name} (split {split!r}) cannot be read from the hub", str(error), "check name and split"
        ) from error
    for number, values in enumerate(found, start=1):
        yield Row(source=f"{name}:{split}", number=number, values={str(key): value for key, value in values.items()})
