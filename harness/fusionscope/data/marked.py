"""Rows that count and rows that only stand in for others, so that every rank has something to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from fusionscope.data.collate import IGNORE, Collator
from fusionscope.data.sampler import FILLER
from fusionscope.errors import BadImageError, DataError

_STAND_IN = {
    "id": "stand-in",
    "conversations": [{"from": "human", "value": "<image>\n"}, {"from": "gpt", "value": "."}],
}


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A row, and whether it counts or stands in for one that doesn't.

    Args:
        row: A LLaVA row.
        counts: Whether it has labels.
        skipped: Why a row was skipped, where this one stands in for it: its picture is bad.
        unfit: The same where the row itself cannot be learnt from.
    """

    row: Mapping[str, Any]
    counts: bool = True
    skipped: str = ""
    unfit: str = ""


def stand_in(skipped: str = "", unfit: str = "") -> Marked:
    """A black picture in the place of another row.

    Args:
        skipped: Why a row with a bad picture was skipped.
        unfit: Why a row was skipped that cannot be learnt from.
    """
    return Marked(row={**_STAND_IN, "image": Image.new("RGB", (32, 32))}, counts=False, skipped=skipped, unfit=unfit)


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
        skip_unfit: Skip rows that the collator refuses (`Collator`) in place of failing.
    """

    def __init__(self, collate: Collator, skip_unfit: bool = False) -> None:
        self.collate, self.skip_unfit = collate, skip_unfit

    def __call__(self, marked: Sequence[Marked]) -> dict[str, Any]:
        """Collate; see `filled`."""
        return self.filled(marked)[1]

    def filled(self, marked: Sequence[Marked]) -> tuple[Sequence[Marked], dict[str, Any]]:
        """The rows that are in the batch, and the batch; ``skipped`` and ``unfit`` say which were left out and why.

        Raises:
            DataError: A row cannot be learnt from, and none may be skipped.
        """
        try:
            batch: dict[str, Any] = self.collate([one.row for one in marked])
        except DataError:
            if not self.skip_unfit:
                raise
            marked = [self._fit(one) for one in marked]
            batch = self.collate([one.row for one in marked])
        for i, one in enumerate(marked):
            if not one.counts:
                batch["labels"][i] = IGNORE
        reasons = {name: [getattr(one, name) for one in marked if getattr(one, name)] for name in ("skipped", "unfit")}
        return marked, {**batch, **{name: found for name, found in reasons.items() if found}}

    def _fit(self, one: Marked) -> Marked:
        """The row, or another in its place where the collator refuses it alone."""
        try:
            self.collate([one.row])
        except DataError as error:
            return stand_in(skipped=one.skipped, unfit=error.what if one.counts else "")
        return one
