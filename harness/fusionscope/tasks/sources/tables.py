"""Tables of the official files, their columns checked and spelt one way."""

from collections.abc import Mapping, Sequence

from fusionscope.errors import DataError
from fusionscope.tasks.sources.readers import rows_in
from fusionscope.tasks.sources.row import Row


def read(
    source: str,
    columns: Sequence[str],
    *,
    split: str = "test",
    optional: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
) -> list[Row]:
    """Read a file, or a data set of the hub.

    Capital letters, blanks, ``_`` and ``-`` make no difference between names of columns.

    Args:
        source: ``.json`` (a list, or lines), ``.jsonl``, ``.csv``, ``.tsv`` (each also with ``.gz``), ``.parquet``, a
            folder or pattern of Parquet files, or a name on the hub (``"owner/name"``, ``"owner/name:configuration"``).
        columns: Columns that must be there.
        split: Split of a folder of Parquet files or of a data set of the hub.
        optional: Columns that may be there.
        aliases: Other names of columns, found in some versions of a file.

    Raises:
        ConfigError: No such file, or a kind that is not known.
        DataError: The file is not of its kind, holds no rows, or lacks columns.
    """
    names = {_plain(name): name for name in (*columns, *optional)}
    names |= {_plain(alias): name for alias, name in (aliases or {}).items() if _plain(alias) not in names}
    rows = [_renamed(row, names) for row in rows_in(source, split)]
    if not rows:
        raise DataError(f"{source} holds no rows", "a task needs some", "give a file of the official format")
    for row in rows:
        missing = [column for column in columns if column not in row.values]
        if missing:
            raise DataError(
                f"{row.source} row {row.number} has no column {', '.join(map(repr, missing))}",
                f"the official format has {', '.join(columns)}; this row has {', '.join(map(str, row.values))}",
                "give a file of the official format",
            )
    return rows


def _renamed(row: Row, names: Mapping[str, str]) -> Row:
    """The row with its columns spelt as they are asked for; a name that is right already wins."""
    right = {name: value for name, value in row.values.items() if name in names.values()}
    other = {names.get(_plain(name), name): value for name, value in row.values.items() if name not in right}
    return Row(source=row.source, number=row.number, values=other | right)


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("-", " ")
