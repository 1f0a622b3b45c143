"""One row of a file, with its place in the file for messages."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from fusionscope.errors import DataError

_NAN = ("", "nan", "NaN")
_MISSING = ("", "nan", "none", "null")
_IMAGE_MARK = re.compile(r"<image(?: \d+)?>")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row and where it stands.

    Args:
        source: File or hub name.
        number: Line of the file (tables: the header is line 1, a cell of several lines counts as one), or place in the
            list, from 1.
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
        shown = repr(given[:200] if isinstance(given, str | bytes) else given)
        shown = shown if len(shown) < 200 else f"{shown[:200]}..."
        raise DataError(f"{self.source} row {self.number} column {column!r}: {shown}", why, fix)

    def text(self, column: str) -> str:
        """A column as text of one line without stray blanks; numbers are written out.

        Raises:
            DataError: The column is missing or empty.
        """
        return self._needed(column, self.optional(column))

    def optional(self, column: str) -> str | None:
        """A column as text of one line without stray blanks, or None where it is missing, empty or "nan"."""
        text = " ".join((self._written(column) or "").split())
        return None if text.lower() in _MISSING else text

    def verbatim(self, column: str) -> str | None:
        """A column with its own line breaks and inner blanks (code, poems, tables), or None where it is missing.

        Unlike `optional`, the words "None" and "null" are texts here: options say them.
        """
        lines = (self._written(column) or "").replace("\r\n", "\n").split("\n")
        text = "\n".join(line.rstrip() for line in lines).strip()
        return None if text in _NAN else text

    def body(self, column: str) -> str:
        """A column as `verbatim` text that must be there.

        Raises:
            DataError: The column is missing or empty.
        """
        return self._needed(column, self.verbatim(column))

    def _needed(self, column: str, value: str | None) -> str:
        if value is None:
            self.fail(column, "a text is needed here")
        return value

    def choice(self, column: str, choices: Sequence[str]) -> int:
        """Which of the choices a column holds, capital letters and stray blanks or full stops aside.

        Raises:
            DataError: None of them.
        """
        value = " ".join(self.body(column).split()).rstrip(".").lower()
        known = [choice.lower().rstrip(".") for choice in choices]
        if value not in known:
            self.fail(column, f"it is one of {', '.join(choices)}")
        return known.index(value)

    def _written(self, column: str) -> str | None:
        value = self.values.get(column)
        if value is None or isinstance(value, dict | list | bytes):
            return None
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, str) and _IMAGE_MARK.search(value):
            self.fail(
                column,
                "an image's mark stands in the text, and the image is shown before the question anyway",
                "take the mark out of the text",
            )
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
