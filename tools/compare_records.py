"""Compare two record files number by number.

    python tools/compare_records.py OLD/records.jsonl NEW/records.jsonl
    python tools/compare_records.py OLD NEW --rename diagnostics/bend=diagnostics/half_sample_curvature

Records are matched by step, stage, task, variant and layer, whatever their run and attempt; of each file those that
stand are read, of schema 1 to 3. Prints the largest difference of each number over all records, the numbers that only
one side has, and the records that only one side has. What a probe cost in time is left out.

Exit status: 0 where every number of OLD is in NEW within the tolerance; 1 where one is not, or a record is on one side
alone. A number that only NEW has is listed and no difference.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fusionscope.errors import ConfigError, FusionscopeError
from fusionscope.records import Record, RecordFile, RunDirectory

LEFT_OUT = ("run", "run_name", "attempt", "schema", "seconds", "spec", "fingerprints", "versions", "dropped")
Place = tuple[Any, ...]
Numbers = dict[str, float]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="a record file, or the directory of a run")
    parser.add_argument("new", type=Path, help="a record file, or the directory of a run")
    parser.add_argument("--tolerance", type=float, default=1e-12, help="largest difference that is none")
    parser.add_argument("--rename", action="append", default=[], metavar="OLD=NEW", help="a number that has a new name")
    options = parser.parse_args(argv)
    try:
        old, new = read(options.old), read(options.new)
        return compare(old, new, tolerance=options.tolerance, renamed=_pairs(options.rename))
    except FusionscopeError as error:
        print(error, file=sys.stderr)
        return 2


def read(path: Path) -> dict[Place, Record]:
    """The records of a file or a run by place."""
    file = RecordFile(RunDirectory(path).records if path.is_dir() else path)
    records = file.read()
    if not records:
        raise ConfigError(f"{file.path} holds no records", "there is nothing to compare", "correct the path")
    by_place = {record.place[1:]: record for record in records}
    if len(by_place) != len(records):
        raise ConfigError(
            f"{file.path} holds {len(records)} records of {len(by_place)} places",
            "records of several runs cannot be told apart without their run",
            "compare files of one run each",
        )
    return by_place


def numbers(record: Record) -> Numbers:
    """Every number of a record by name, nested ones as ``standard_errors/synergy``."""
    return _flat({name: value for name, value in asdict(record).items() if name not in LEFT_OUT}, "")


def compare(
    old: Mapping[Place, Record], new: Mapping[Place, Record], *, tolerance: float, renamed: Mapping[str, str]
) -> int:
    """Print the differences; returns the exit status."""
    largest: dict[str, tuple[float, Place]] = {}
    lost: dict[str, int] = {}
    added: dict[str, int] = {}
    common = [place for place in old if place in new]
    for place in common:
        before = {renamed.get(name, name): value for name, value in numbers(old[place]).items()}
        after = numbers(new[place])
        for name in before.keys() - after.keys():
            lost[name] = lost.get(name, 0) + 1
        for name in after.keys() - before.keys():
            added[name] = added.get(name, 0) + 1
        for name in before.keys() & after.keys():
            difference = _difference(before[name], after[name])
            if name not in largest or difference > largest[name][0]:
                largest[name] = (difference, place)
    print(f"{len(common)} records on both sides; largest difference of each number:")
    for name, (difference, place) in sorted(largest.items(), key=lambda item: -item[1][0]):
        where = "" if difference <= tolerance else f"  at {_text(place)}  ABOVE {tolerance:g}"
        print(f"  {name:<48} {difference:.3g}{where}")
    _list("numbers that only OLD has", [f"{name} (in {count} records)" for name, count in sorted(lost.items())])
    _list("numbers that only NEW has", [f"{name} (in {count} records)" for name, count in sorted(added.items())])
    one_sided = {"OLD": [place for place in old if place not in new], "NEW": [p for p in new if p not in old]}
    for side, places in one_sided.items():
        _list(f"records that only {side} has", [_text(place) for place in places])
    differs = any(difference > tolerance for difference, _ in largest.values())
    return int(differs or bool(lost) or any(one_sided.values()) or not common)


def _flat(value: Any, name: str) -> Numbers:
    if isinstance(value, Mapping):
        parts = [_flat(part, f"{name}/{key}" if name else str(key)) for key, part in value.items()]
    elif isinstance(value, tuple | list):
        parts = [_flat(part, f"{name}/{i}") for i, part in enumerate(value)]
    else:
        return {name: float(value)} if isinstance(value, int | float) else {}
    return {key: number for part in parts for key, number in part.items()}


def _difference(before: float, after: float) -> float:
    if math.isnan(before) or math.isnan(after):
        return 0.0 if math.isnan(before) and math.isnan(after) else math.inf
    return 0.0 if before == after else abs(before - after)


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    for text in texts:
        if text.count("=") != 1:
            raise ConfigError(f"--rename {text}", "it is OLD=NEW", "such as diagnostics/bend=diagnostics/curvature")
    return {before: after for before, _, after in (text.partition("=") for text in texts)}


def _text(place: Place) -> str:
    step, stage, task, variant, layer = place
    return f"step {step} ({stage}), {task} ({variant}), layer {layer}"


def _list(title: str, lines: Sequence[str], most: int = 20) -> None:
    if lines:
        print(f"{len(lines)} {title}:")
        print("\n".join(f"  {line}" for line in lines[:most]))
    if len(lines) > most:
        print(f"  and {len(lines) - most} more")


if __name__ == "__main__":
    sys.exit(main())
