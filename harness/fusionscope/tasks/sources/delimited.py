"""CSV and TSV files, whose quotation marks are held to their rules."""

import csv
import gzip
import io
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fusionscope.errors import DataError


def delimited_rows(path: Path, separator: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV or TSV file with their numbers: the header is 1, a row over several lines counts as one.

    Args:
        path: The file, perhaps packed by gzip.
        separator: What stands between cells.

    Raises:
        DataError: It is no UTF-8, a row has more or fewer cells than the header, two columns have one name, or a
            quotation mark is out of place: text follows where it closes, it is never closed, or it joins lines that are
            whole rows without it.
    """
    records = _records(path, list(io.StringIO(_text(path), newline="")), separator)
    if not records:
        raise DataError(f"{path} is no table: it is empty", "its first row names the columns", "give another file")
    header = [name.strip() for name in records[0][1]]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DataError(f"{path} has two columns {', '.join(twice)}", "a column has one name", "correct the header")
    for number, (line, cells) in enumerate(records[1:], start=2):
        if len(cells) != len(header):
            raise DataError(
                f"{path} is no table: row {number} (line {line}) has {len(cells)} cells",
                f"its header has {len(header)}",
                "correct the row: a cell that holds the separator or a line break stands in quotation marks",
            )
        if any(cell.strip() for cell in cells):
            yield number, {name: cell for name, cell in zip(header, cells, strict=True) if name}


def _records(path: Path, lines: Sequence[str], separator: str) -> list[tuple[int, list[str]]]:
    """The line that each row begins in, and its cells; blank lines are no rows."""
    records: list[tuple[int, list[str]]] = []
    width, last = 0, 0
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        with _cells_of_any_length():
            for cells in reader:
                width = width or len(cells)
                _check_span(path, lines[last : reader.line_num], separator, width, last + 1)
                if cells:
                    records.append((last + 1, cells))
                last = reader.line_num
    except csv.Error as error:
        raise DataError(
            f"{path} is no table: row at line {last + 1}: {error}",
            "a cell that begins with a quotation mark ends with one, and those within it are doubled",
            'write "He said ""hi""", or leave the marks out',
        ) from error
    return records


def _check_span(path: Path, lines: Sequence[str], separator: str, width: int, first: int) -> None:
    """Refuse a row over several lines each of which is a row without the marks: stray ones would swallow rows."""
    if len(lines) > 1 and width > 1 and all(line.count(separator) == width - 1 for line in lines):
        raise DataError(
            f"{path} lines {first} to {first + len(lines) - 1}: a quotation mark joins them to one row",
            f"each is a row of {width} cells by itself, so the mark is a stray one",
            "double the mark and put its cell in quotation marks, or remove it",
        )


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Lift csv's limit of 128 KiB a cell, which images as base64 text are longer than."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _text(path: Path) -> str:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path} line {before} is no UTF-8: {error}", "texts are UTF-8", "save the file as UTF-8"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked: {error}", "it ends in .gz", "restore the file") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}", "a table is a file", "check the path") from error
