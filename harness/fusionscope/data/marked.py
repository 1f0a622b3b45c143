"""Rows that count and placeholders for others, so that every rank has something to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from fusionscope.data.collate import IGNORE, Collator
from fusionscope.data.sampler import FILLER
from fusionscope.errors import BadImageError, DataError

_PLACEHOLDER = {
    "id": "placeholder",
    "conversations": [{"from": "human", "value": "<image>\n"}, {"from": "gpt", "value": "."}],
}


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A row, and whether it counts or is a placeholder for one that doesn't.

    Args:
        row: A LLaVA row.
        counts: Whether it has labels.
        skipped: Why a row was skipped whose placeholder this one is: its image is bad.
        unfit: The same where the row itself has no supervised token, or cannot be encoded.
    """

    row: Mapping[str, Any]
    counts: bool = True
    skipped: str = ""
    unfit: str = ""


def placeholder(skipped: str = "", unfit: str = "") -> Marked:
    """A black image in the place of another row.

    Args:
        skipped: Why a row with a bad image was skipped.
        unfit: Why a row was skipped that the collator refuses.
    """
    return Marked(row={**_PLACEHOLDER, "image": Image.new("RGB", (32, 32))}, counts=False, skipped=skipped, unfit=unfit)


class Filled(Dataset[Marked]):
    """Rows, with others in place of those that another rank has or whose image is bad.

    Args:
        rows: The dataset.
        skip_bad: Skip rows with bad images in place of failing.
    """

    def __init__(self, rows: Any, skip_bad: bool) -> None:
        self.rows = rows
        self.skip_bad = skip_bad

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
        """The first row whose image is good."""
        for index in range(len(self.rows)):
            try:
                return self.rows[index]
            except BadImageError:
                if not self.skip_bad:
                    raise
        raise DataError("no row has a good image", "a batch needs one", "check image_folder")


class Filling:
    """Collate marked rows; placeholders have no labels.

    Args:
        collate: Collates rows.
        skip_unfit: Skip rows that the collator refuses (`Collator`) in place of failing.
        skip_bad: The same for rows whose images the model's processor refuses.
    """

    def __init__(self, collate: Collator, skip_unfit: bool = False, skip_bad: bool = False) -> None:
        self.collate = collate
        self.skip_unfit = skip_unfit
        self.skip_bad = skip_bad

    def __call__(self, marked: Sequence[Marked]) -> dict[str, Any]:
        """Collate; see `filled`."""
        return self.filled(marked)[1]

    def filled(self, marked: Sequence[Marked]) -> tuple[Sequence[Marked], dict[str, Any]]:
        """The rows that are in the batch, and the batch; ``skipped`` and ``unfit`` say which were left out and why.

        Raises:
            DataError: The collator refuses a row, and none may be skipped.
        """
        try:
            batch: dict[str, Any] = self.collate([sample.row for sample in marked])
        except DataError:
            if not (self.skip_unfit or self.skip_bad):
                raise
            marked = [self._fit(sample) for sample in marked]
            batch = self.collate([sample.row for sample in marked])
        for i, sample in enumerate(marked):
            if not sample.counts:
                batch["labels"][i] = IGNORE
        reasons = {
            "skipped": [sample.skipped for sample in marked if sample.skipped],
            "unfit": [sample.unfit for sample in marked if sample.unfit],
        }
        return marked, {**batch, **{name: texts for name, texts in reasons.items() if texts}}

    def _fit(self, sample: Marked) -> Marked:
        """The row, or a placeholder where the collator refuses it alone and it may be skipped."""
        try:
            self.collate([sample.row])
        except BadImageError as error:
            if not self.skip_bad:
                raise
            return placeholder(skipped=error.what if sample.counts else sample.skipped)
        except DataError as error:
            if not self.skip_unfit:
                raise
            return placeholder(skipped=sample.skipped, unfit=error.what if sample.counts else "")
        return sample
