"""Records sorted into the curves that figures and tables show."""

import re
from collections.abc import Sequence
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


def folders(runs: Sequence[str]) -> dict[str, str]:
    """For each run the name of a folder that every file system takes; no two are alike, whatever their case.

    >>> folders(["org/model", "org_Model", "..", "a:b", "nul"])
    {'org/model': 'org_model', 'org_Model': 'org_Model-2', '..': '_', 'a:b': 'a_b', 'nul': '_nul'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for run in runs:
        plain = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", run)[:120].rstrip(". ") or "_"
        plain = f"_{plain}" if _RESERVED.fullmatch(plain) else plain
        numbered = (plain if i == 1 else f"{plain}-{i}" for i in count(1))
        found[run] = next(name for name in numbered if name.casefold() not in taken)
        taken.add(found[run].casefold())
    return found
