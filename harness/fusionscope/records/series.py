"""Records sorted into the curves that figures and tables show."""

import re
from collections.abc import Mapping, Sequence
from itertools import count

from fusionscope.records.schema import Record, Series

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # device names of Windows
SHORT = {"redundancy": "R", "unique_vision": "U1", "unique_language": "U2", "synergy": "S"}


def by_series(records: Sequence[Record]) -> dict[Series, list[Record]]:
    """Records by their series, in order of steps and layers; of two stages at one step the later comes last."""
    groups: dict[Series, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r.step, r.stage_step == 0, r.layer)):
        groups.setdefault(record.series, []).append(record)
    return groups


def last_layer(records: Sequence[Record]) -> list[Record]:
    """The records of each model's last layer, where the model's own answers are."""
    return [record for record in records if record.layer == record.n_layers]


def at_end(records: Sequence[Record]) -> dict[Series, list[Record]]:
    """All layers of each series at its last step."""
    groups = by_series(records)
    return {
        series: [r for r in own if (r.step, r.stage) == (own[-1].step, own[-1].stage)] for series, own in groups.items()
    }


def title(series: Series, among: Sequence[Series]) -> str:
    """A series by what tells it from the others: its task, and its variant where the task has several.

    >>> crossed, natural = Series("sandbox/redundant", "crossed"), Series("sandbox/redundant", "crossed+natural")
    >>> title(natural, [crossed, natural])
    'sandbox/redundant (crossed+natural)'
    >>> title(crossed, [crossed])
    'sandbox/redundant'
    """
    variants = {other.variant for other in among if other.task == series.task}
    return f"{series.task} ({series.variant})" if len(variants) > 1 else series.task


def run_names(records: Sequence[Record]) -> dict[str, str]:
    """The runs of records, by identity, each with its name for people: that of its last record."""
    return {record.run: record.run_name for record in records}


def folders(names: Mapping[str, str]) -> dict[str, str]:
    """For each run the name of a folder that every file system takes; no two are alike, whatever their case.

    Args:
        names: Names of the runs by identity.

    >>> folders({"a": "org/model", "b": "org_Model", "c": "..", "d": "a:b", "e": "nul"})
    {'a': 'org_model', 'b': 'org_Model-2', 'c': '_', 'd': 'a_b', 'e': '_nul'}
    """
    chosen: dict[str, str] = {}
    taken: set[str] = set()
    for run, name in names.items():
        plain = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name)[:120].rstrip(". ") or "_"
        plain = f"_{plain}" if _RESERVED.fullmatch(plain) else plain
        numbered = (plain if i == 1 else f"{plain}-{i}" for i in count(1))
        chosen[run] = next(folder for folder in numbered if folder.casefold() not in taken)
        taken.add(chosen[run].casefold())
    return chosen
