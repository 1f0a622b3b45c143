"""The onset of synergy while a run goes on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fusionscope.records.onset import Onset, onset
from fusionscope.records.ramps import MIN_PROBES
from fusionscope.records.schema import Record, Series
from fusionscope.records.series import SHORT, last_layer

RUN_RATE = 0.05
"""At most this fraction of runs without a rise has an onset reported at any time, over all looks at all its curves."""
GROWTH = 1.1
"""A curve is looked at again when it has a tenth more probes."""
LOOKS = 48
"""Looks that share nine tenths of a curve's rate alike, up to some 700 probes; later ones share what is left."""
STANDS = 0.01
"""Level at which an onset that was reported still stands."""


@dataclass
class _Curve:
    """One series: its last layer's records by key, the number of looks at it, when the next is due, what was found."""

    records: dict[tuple[object, ...], Record] = field(default_factory=dict)
    looks: int = 0
    due: int = MIN_PROBES
    step: int | None = None


class OnsetWatch:
    """Looks for onsets in the last layer as a run goes on; says when one is found, has moved or does not stand.

    A look costs as much as the curve is long, and there are few: the cost of a probe does not grow with the run. At
    most 5 % of runs in which nothing rises are told of an onset at any time: that rate is shared by the curves and by
    the looks at each (Bonferroni). A report, which looks once, finds an onset some probes earlier.

    Args:
        atom: Which atom.

    Reference:
        Lan, DeMets 1983, "Discrete sequential boundaries for clinical trials" (a rate spent look by look).

    Example:
        >>> watch = OnsetWatch()
        >>> watch.update([])
        {}
    """

    def __init__(self, atom: str = "synergy") -> None:
        self.atom = atom
        self.seeded = False
        self._curves: dict[Series, _Curve] = {}

    def seed(self, records: Iterable[Record]) -> None:
        """Take the records of earlier stages, or of the part of a resumed run that stands; says nothing."""
        self.seeded = True
        probes: dict[tuple[int, str], list[Record]] = {}
        for record in records:
            probes.setdefault((record.step, record.stage), []).append(record)
        for fresh in probes.values():
            self.update(fresh)

    def update(self, records: Sequence[Record]) -> dict[Series, str]:
        """Add records of a probe.

        Args:
            records: New ones; of one key the last counts.

        Returns:
            What to say of each series whose onset is new, has moved or is gone; it is found some probes after its step.
        """
        fresh = last_layer(records)
        for record in fresh:
            self._curves.setdefault(record.series, _Curve()).records[record.key] = record
        news: dict[Series, str] = {}
        for series in dict.fromkeys(record.series for record in fresh):
            curve = self._curves[series]
            if len(curve.records) >= curve.due:
                text = self._news(series, curve)
                news |= {series: text} if text else {}
        return news

    def _news(self, series: Series, curve: _Curve) -> str:
        """What is new of a curve, or nothing."""
        curve.looks += 1
        curve.due = max(curve.due + 1, int(GROWTH * len(curve.records)))
        rate = spent(curve.looks) * RUN_RATE / len(self._curves)
        emerged = onset(list(curve.records.values()), atom=self.atom, level=rate if curve.step is None else STANDS)
        before, curve.step = curve.step, emerged.step
        if curve.step == before:
            return ""
        return self._in_words(series, emerged, before)

    def _in_words(self, series: Series, emerged: Onset, before: int | None) -> str:
        where = f"{self.atom} on {series.task} ({series.variant})"
        if emerged.step is None:
            return f"no onset of {where} any more (it was step {before}): {emerged}"
        alarm = f"a run without a rise has a false alarm in at most {RUN_RATE:.0%}"
        return f"onset of {where}: {emerged}; {alarm}"

    def __str__(self) -> str:
        """For a progress bar: what has emerged, and since when."""
        steps = {series: curve.step for series, curve in self._curves.items() if curve.step is not None}
        return ", ".join(f"{SHORT[self.atom]} on {series.task} since {step}" for series, step in steps.items())


def spent(look: int) -> float:
    """The fraction of a curve's rate that one look has, from the first on; all of them together have 1.

    >>> spent(1) == spent(48), round(sum(spent(look) for look in range(1, 100_000)), 4)
    (True, 1.0)
    """
    later = look - LOOKS
    return 0.9 / LOOKS if later <= 0 else 0.1 / (later * (later + 1))
