"""The onset of synergy while a run goes on."""

from collections.abc import Iterable, Sequence

from fusionscope.records.onset import onset
from fusionscope.records.schema import Record, Series
from fusionscope.records.series import SHORT, by_series, last_layer

LEVEL = 0.001
"""Of one test. A curve is tested after every probe: at 0.01 each, one curve of noise in ten has an onset some time."""


class OnsetWatch:
    """Looks for onsets in the last layer after every probe; says when one is found, has moved or does not stand.

    Its tests are stricter than those of a report, which tests a curve once: it finds an onset a probe or two later.

    Args:
        atom: Which atom.

    Example:
        >>> watch = OnsetWatch()
        >>> watch.update([])
        {}
    """

    def __init__(self, atom: str = "synergy") -> None:
        self.atom = atom
        self.found: dict[Series, int] = {}
        self.seeded = False
        self._records: dict[tuple[object, ...], Record] = {}

    def seed(self, records: Iterable[Record]) -> None:
        """Take the records of earlier stages, or of the part of a resumed run that stands; says nothing."""
        self.seeded = True
        self.update(list(records))

    def update(self, records: Sequence[Record]) -> dict[Series, str]:
        """Add records of a probe.

        Args:
            records: New ones; of one key the last counts.

        Returns:
            What to say of each series whose onset is new, has moved or is gone; it is found some probes after its step.
        """
        fresh = last_layer(records)
        self._records |= {record.key: record for record in fresh}
        groups = by_series(list(self._records.values()))
        news = {}
        for series in dict.fromkeys(record.series for record in fresh):
            seen = onset(groups[series], atom=self.atom, level=LEVEL)
            if seen.step == self.found.get(series):
                continue
            if seen.step is None:
                before = self.found.pop(series)
                what = f"no onset of {self.atom} on {series.task} ({series.variant}) any more"
                news[series] = f"{what} (it was step {before}): {seen}"
            else:
                self.found[series] = seen.step
                news[series] = f"onset of {self.atom} on {series.task} ({series.variant}): {seen}"
        return news

    def __str__(self) -> str:
        """For a progress bar: what has emerged, and since when."""
        return ", ".join(f"{SHORT[self.atom]} on {series.task} since {step}" for series, step in self.found.items())
