"""Whether every number that a sandbox run logged is right: each checkpoint's decision function, enumerated.

    python tools/check_truth.py RUN [--tolerance 0.05] [--stage NAME] [--every N]

For each record of the crossed design in RUN/records.jsonl, loads that step's checkpoint, runs all 2304 scene classes
with all questions of the family, solves for the exact atoms under the record's own pair weights, and compares. Prints
the largest difference per stage, task and atom; exits with 1 where one is larger than the tolerance, where a record
has no checkpoint, or where nothing was compared. Takes about 10 s a checkpoint on two cores.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from fusionscope.records import ATOMS, Record, RecordFile
from fusionscope.sandbox import model_pid
from fusionscope.study.checkpoints import Checkpoint, find_checkpoints
from fusionscope.study.models import Models, default_device


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
    options = parser.parse_args()
    records = by_place(RecordFile(options.run / "records.jsonl").read(), options.stage)
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
    good = bool(found) and not wrong and not missing
    verdict = "ok" if good else "FAILED"
    print(f"{len(found)} atoms compared, {len(wrong)} off by more than {options.tolerance} bits: {verdict}")
    return 0 if good else 1


def by_place(records: Iterable[Record], stage: str | None) -> dict[tuple[str, int], list[Record]]:
    """Records of the crossed design, by stage and step."""
    found: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in records:
        if record.design == "crossed" and record.task.startswith("sandbox/") and stage in (None, record.stage):
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
            truth = model_pid(lvlm, task.removeprefix("sandbox/"), layers=layers)
            for record in mine:
                atoms = truth[record.weights].atoms()
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


def table(found: list[Difference], n_checkpoints: int) -> str:
    """The largest difference per stage, task, weights and atom."""
    largest: dict[tuple[str, str, str], dict[str, Difference]] = defaultdict(dict)
    for one in found:
        row = largest[one.record.stage, one.record.task, one.record.weights]
        if one.atom not in row or one.size > row[one.atom].size:
            row[one.atom] = one
    lines = [
        f"Largest difference from the truth over {n_checkpoints} checkpoints and all layers, bits",
        f"{'stage':14}{'task':20}{'weights':10}" + "".join(f"{name:>9}" for name in ("R", "U1", "U2", "S")),
    ]
    for (stage, task, weights), row in sorted(largest.items()):
        lines.append(f"{stage:14}{task:20}{weights:10}" + "".join(f"{row[atom].size:9.4f}" for atom in ATOMS))
    if found:
        lines.append(f"largest of all: {described(max(found, key=lambda one: one.size))}")
    return "\n".join(lines)


def described(one: Difference) -> str:
    record = one.record
    where = f"{record.stage} step {record.stage_step}, {record.task} ({record.weights}), layer {record.layer}"
    return f"{where}: {one.atom} logged {one.logged:.4f}, true {one.true:.4f}"


if __name__ == "__main__":
    sys.exit(main())
