"""Whether every number that a sandbox run logged is right: each checkpoint's decision function, enumerated.

    python tools/check_truth.py RUN [--tolerance 0.05] [--stage NAME] [--every N] [--task NAME] [--last-layer]

For each record of the crossed design in RUN/records.jsonl, loads that step's checkpoint, runs all 2304 scene classes
with all questions of the family, solves for the exact atoms under the record's own law, and compares. Prints
the largest difference per stage, task and atom and, where every checkpoint is checked, the onset of synergy that the
records give beside the one that the truth gives. Exits with 1 where a difference is larger than the tolerance, an onset
is off by more than one probe, a record has no checkpoint, or nothing was compared. Takes about 10 s a checkpoint.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm.auto import tqdm

from fusionscope.records import ATOMS, Record, RecordFile
from fusionscope.records.onset import onset
from fusionscope.sandbox import model_pid
from fusionscope.study.sweep import Checkpoint, Models, default_device, find_checkpoints


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One logged atom against its true value, in bits."""

    record: Record
    atom: str
    logged: float
    true: float

    @property
    def size(self) -> float:
        # NaN would pass every comparison
        gap = abs(self.logged - self.true)
        return gap if gap == gap and self.record.converged else float("inf")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.05, help="largest difference allowed, bits (0.05)")
    parser.add_argument("--stage", help="check this stage only")
    parser.add_argument("--every", type=int, default=1, help="check every N-th checkpoint only (1)")
    parser.add_argument("--task", help="check this task only")
    parser.add_argument("--last-layer", action="store_true", help="check the last layer only")
    options = parser.parse_args()
    records = by_place(wanted(RecordFile(options.run / "records.jsonl").read(), options))
    checkpoints = {(one.stage, one.stage_step): one for one in find_checkpoints([str(options.run)])}
    missing = sorted(set(records) - set(checkpoints))
    chosen = [place for place in checkpoints if place in records][:: options.every]
    found = compare([(checkpoints[place], records[place]) for place in chosen])
    print(table(found, n_checkpoints=len(chosen)))
    for stage, step in missing:
        print(f"no checkpoint for the records of {stage}, step {step}")
    wrong = [one for one in found if one.size > options.tolerance]
    for one in sorted(wrong, key=lambda one: -one.size)[:20]:
        print("wrong:", described(one))
    late = 0
    if options.stage is None and options.every == 1:
        late = print_onsets(found)
    good = bool(found) and not wrong and not missing and not late
    verdict = "ok" if good else "FAILED"
    print(f"{len(found)} atoms compared, {len(wrong)} off by more than {options.tolerance} bits: {verdict}")
    return 0 if good else 1


def wanted(records: Iterable[Record], options: argparse.Namespace) -> list[Record]:
    """The sandbox's records of the crossed design that the options ask for."""
    return [
        record
        for record in records
        if record.design == "crossed"
        and record.task.startswith("sandbox/")
        and options.stage in (None, record.stage)
        and options.task in (None, record.task)
        and (not options.last_layer or record.layer == record.n_layers)
    ]


def by_place(records: Iterable[Record]) -> dict[tuple[str, int], list[Record]]:
    """Records by stage and step."""
    found: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in records:
        found[record.stage, record.stage_step].append(record)
    return dict(found)


def compare(pairs: list[tuple[Checkpoint, list[Record]]]) -> list[Difference]:
    """Enumerate every checkpoint and compare each atom of its records."""
    models, found = Models(device=default_device()), []
    for checkpoint, records in tqdm(pairs, desc="enumerating"):
        lvlm = models.load(checkpoint)
        for task in sorted({record.task for record in records}):
            mine = [record for record in records if record.task == task]
            layers = sorted({record.layer for record in mine})
            with models.precision():
                truth = model_pid(lvlm, task.removeprefix("sandbox/"), layers=layers)
            for record in mine:
                atoms = truth[record.law].atoms()
                found += [
                    Difference(
                        record=record,
                        atom=atom,
                        logged=record.atoms[atom],
                        true=float(atoms[atom][layers.index(record.layer)]),
                    )
                    for atom in ATOMS
                ]
    return found


def print_onsets(found: list[Difference]) -> int:
    """Print the onset of each series as logged, as the truth has it, and when the true curve is half way up.

    Returns:
        How many logged onsets are more than one probe away from the truth's.
    """
    series = defaultdict(list)
    for one in found:
        if one.atom == "synergy" and one.record.layer == one.record.n_layers:
            series[one.record.series].append(one)
    print(f"{'onset of synergy, last layer':34}{'logged':>8}{'true':>8}{'true, half way':>16}")
    late = 0
    for (task, variant), own in sorted(series.items()):
        logged = onset([one.record for one in own]).step
        true = onset([replace(one.record, synergy=one.true, standard_errors={}) for one in own]).step
        print(f"{task + ' (' + variant + ')':34}{logged or '-':>8}{true or '-':>8}{half_way(own) or '-':>16}")
        late += not within_one_probe(logged, true, [one.record.step for one in own])
    return late


def within_one_probe(logged: int | None, true: int | None, steps: Iterable[int]) -> bool:
    """Whether two onsets are the same probe, or neighbours."""
    if logged is None or true is None:
        return logged == true
    places = sorted(set(steps))
    return abs(places.index(logged) - places.index(true)) <= 1


def half_way(own: list[Difference]) -> int | None:
    """First step after the baseline from which true synergy stays above half of what it is in the end.

    A second opinion on the onset that shares no code with it; None where the end is below the design's resolution.
    """
    curve = sorted((one.record.step, one.true) for one in own if not one.record.baseline)
    last = curve[-1][1]
    if last < 0.05:
        return None
    below = [step for step, value in curve if value <= last / 2]
    return next((step for step, _ in curve if not below or step > below[-1]), None)


def table(found: list[Difference], n_checkpoints: int) -> str:
    """The largest difference per stage, task, law and atom."""
    largest: dict[tuple[str, str, str], dict[str, Difference]] = defaultdict(dict)
    for one in found:
        row = largest[one.record.stage, one.record.task, one.record.law]
        if one.atom not in row or one.size > row[one.atom].size:
            row[one.atom] = one
    lines = [
        f"Largest difference from the truth over {n_checkpoints} checkpoints and all layers, bits",
        f"{'stage':14}{'task':20}{'law':10}" + "".join(f"{name:>9}" for name in ("R", "U1", "U2", "S")),
    ]
    for (stage, task, law), row in sorted(largest.items()):
        lines.append(f"{stage:14}{task:20}{law:10}" + "".join(f"{row[atom].size:9.4f}" for atom in ATOMS))
    if found:
        lines.append(f"largest of all: {described(max(found, key=lambda one: one.size))}")
    return "\n".join(lines)


def described(one: Difference) -> str:
    record = one.record
    where = f"{record.stage} step {record.stage_step}, {record.task} ({record.law}), layer {record.layer}"
    return f"{where}: {one.atom} logged {one.logged:.4f}, true {one.true:.4f}"


if __name__ == "__main__":
    sys.exit(main())
