"""JSON lists and JSON lines, read row by row, for held-out tasks and training data alike."""

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from fusionscope.errors import DataError

_CHUNK = 1 << 20
_BLANK = b" \t\r\n"
_FORM = "the file is a JSON list of objects, or holds one object a line"


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file with their numbers from 1: places in a list, or lines.

    The content decides, not the file's name: a list begins with ``[``. The file may begin with a byte order mark and be
    packed by gzip. Only a stretch of it is held in memory.

    Args:
        path: The file.

    Raises:
        DataError: It is neither a list of objects nor an object a line, something follows the list's end, a key comes
            twice in an object, or a text is no Unicode.
    """
    try:
        with _opened(path) as file:
            sign = _first_sign(file)
            file.seek(0)
            yield from _of_list(path, file) if sign == b"[" else _of_lines(path, file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked: {error}", "it ends in .gz", "restore the file") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}", _FORM, "check the path, or restore the file") from error


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb"))


def _first_sign(file: BinaryIO) -> bytes:
    start = file.read(len(codecs.BOM_UTF8))
    sign = b"" if start == codecs.BOM_UTF8 else start.lstrip(_BLANK)[:1]
    while not sign and (chunk := file.read(_CHUNK)):
        sign = chunk.lstrip(_BLANK)[:1]
    return sign


def _of_lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    # Of a binary file: JSON strings may hold the other signs that text is split at, such as U+2028.
    for number, line in enumerate(file, start=1):
        content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not content.strip(_BLANK):
            continue
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _no_unicode(f"{path} row {number}", error) from error
        try:
            row = _DECODER.decode(text)
        except (ValueError, RecursionError, _TwiceError) as error:
            raise DataError(f"{path} row {number} is no JSON: {error}", _FORM, "correct the file") from error
        yield number, _checked(path, number, row, text)


def _of_list(path: Path, file: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    stretch, number = _Stretch(path, file), 0
    stretch.take("[")
    while not (stretch.sign() == "]" and number == 0):
        number += 1
        row, text = stretch.value(number)
        yield number, _checked(path, number, row, text)
        if stretch.sign() != ",":
            break
        stretch.take(",")
    if stretch.sign() != "]":
        what = f"{path} after row {number}: {stretch.shown()}"
        raise DataError(what, "rows of a JSON list are separated by commas, and it ends with ']'", "correct the file")
    stretch.take("]")
    if stretch.sign():
        raise DataError(
            f"{path}: after its list of {number} rows comes {stretch.shown()}",
            "one JSON list is one file: what follows would be left out",
            "join lists that were glued together, or cut off what follows",
        )


class _Stretch:
    """The part of a file that is in memory."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text = ""
        self.at = 0
        self.number = 0

    def sign(self) -> str:
        """The next sign that is not blank, without taking it; "" at the end of the file."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _BLANK.decode():
                self.at += 1
            if self.at < len(self.text) or not self._more(_CHUNK):
                return self.text[self.at : self.at + 1]

    def take(self, sign: str) -> None:
        """Go past a sign that `sign` has shown."""
        if self.sign() == sign:
            self.at += 1

    def value(self, number: int) -> tuple[Any, str]:
        """The next JSON value and its text."""
        self.number, size = number, _CHUNK
        self.sign()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except (RecursionError, _TwiceError) as error:
                raise self._no_json(error) from error
            except ValueError as error:
                if not self._more(size):
                    raise self._no_json(error) from error
                size *= 2  # a long row would be begun anew with every chunk
            else:
                text = self.text[self.at : end]
                self.at = end
                return value, text

    def shown(self) -> str:
        """What comes next, for messages."""
        return repr(self.text[self.at : self.at + 40]) if self.sign() else "the end of the file"

    def _no_json(self, error: Exception) -> DataError:
        return DataError(f"{self.path} row {self.number} is no JSON: {error}", _FORM, "correct the file")

    def _more(self, size: int) -> bool:
        chunk = self.file.read(size)
        try:
            text = self.decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise _no_unicode(f"{self.path} after row {self.number}", error) from error
        self.text = self.text[self.at :] + text
        self.at = 0
        return bool(chunk)


class _TwiceError(Exception):
    """A key that comes twice in one object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _TwiceError(f"the key {twice!r} comes twice")
    return row


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _checked(path: Path, number: int, row: Any, text: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(f"{path} row {number} is {str(row)[:80]!r}", "a row is a JSON object", "correct the file")
    if "\\ud" in text.lower():  # only an escape can make half of a surrogate pair
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise _no_unicode(f"{path} row {number}", error) from error
    return row


def _no_unicode(place: str, error: UnicodeError) -> DataError:
    return DataError(f"{place} is no UTF-8: {error}", "texts are UTF-8", "save the file as UTF-8, or correct the row")
