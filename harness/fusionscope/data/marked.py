"""Rows that count and rows that only stand in for others, so that every rank has something to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from fusionscope.data.collate import IGNORE, Collator
from fusionscope.data.llava import BadImageError
from fusionscope.data.sampler import FILLER
from fusionscope.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A row, and whether it counts or stands in for one that doesn't.

    Args:
        row: A LLaVA row.
        counts: Whether it has labels.
        skipped: Why a row was skipped, where this one stands in for it.
    """

    row: Mapping[str, Any]
    counts: bool = True
    skipped: str = ""


class Filled(Dataset[Marked]):
    """Rows, with others in place of those that another rank has or whose picture is bad.

    Args:
        rows: The dataset.
        skip_bad: Skip rows with bad pictures in place of failing.
    """

    def __init__(self, rows: Any, skip_bad: bool) -> None:
        self.rows, self.skip_bad = rows, skip_bad

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Marked:
        if index == FILLER:
            return Marked(row=self._any(), counts=False)
        try:
            return Marked(row=self.rows[index])
        except BadImageError as error:
            if not self.skip_bad:
                raise
            return Marked(row=self._any(), counts=False, skipped=error.what)

    def _any(self) -> Any:
        """The first row whose picture is good."""
        for index in range(len(self.rows)):
            try:
                return self.rows[index]
            except BadImageError:
                if not self.skip_bad:
                    raise
        raise DataError("no row has a good picture", "a batch needs one", "check image_folder")


class Filling:
    """Collate marked rows; those that only stand in have no labels.

    Args:
        collate: Collates rows.
    """

    def __init__(self, collate: Collator) -> None:
        self.collate = collate

    def __call__(self, marked: Sequence[Marked]) -> dict[str, Any]:
        batch: dict[str, Any] = self.collate([one.row for one in marked])
        for i, one in enumerate(marked):
            if not one.counts:
                batch["labels"][i] = IGNORE
        skipped = [one.skipped for one in marked if one.skipped]
        return {**batch, "skipped": skipped} if skipped else batch
