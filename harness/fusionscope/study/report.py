"""What a run found: its figures and a short table."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from fusionscope.errors import RunDirectoryError
from fusionscope.records import ATOMS, Journey, Record, RecordFile
from fusionscope.study.figures import Series, by_series, depth_figure, save, time_figure
from fusionscope.study.onset import Onset, onset

_SHORT = {"redundancy": "R", "unique_vision": "U1", "unique_language": "U2", "synergy": "S"}


def report(run_dir: str | os.PathLike[str]) -> str:
    """Draw the figures of a run into its folder ``figures`` and return a table as text.

    Raises:
        RunDirectoryError: No records there.
    """
    directory = Path(run_dir)
    records = RecordFile(directory / "records.jsonl").read()
    if not records:
        raise RunDirectoryError(
            f"{directory} holds no records",
            "a report is drawn from records.jsonl",
            "give the directory of a run that PIDCallback probed",
        )
    journey = Journey.find(directory)
    save(time_figure(records, journey), directory / "figures" / "time")
    save(depth_figure(records), directory / "figures" / "depth")
    return "\n".join([table(records), "", *_onset_lines(records), "", *_cost_lines(records), *_where(directory)])


def table(records: Sequence[Record]) -> str:
    """The last layer's atoms at the end of each stage, in bits, with standard errors."""
    rows = [("task", "pairs", "stage", "step", *(f"{_SHORT[a]} (bits)" for a in ATOMS), "accuracy", "n")]
    last = [record for record in records if record.layer == record.n_layers]
    for series, own in by_series(last).items():
        for record in {r.stage: r for r in own}.values():
            atoms = [_with_error(record, atom) for atom in ATOMS]
            share = "" if math.isnan(record.accuracy) else f"{record.accuracy:.3f}"
            rows.append((series[0], series[2], record.stage, str(record.step), *atoms, share, str(record.n)))
    designs = sorted({f"{r.design} design, {r.estimator} estimator" for r in records})
    return "\n".join([f"At the end of each stage ({'; '.join(designs)}):", *_aligned(rows)])


def synergy_onsets(records: Sequence[Record]) -> dict[Series, Onset]:
    """The onset of synergy in the last layer of each series."""
    return {s: onset(own) for s, own in by_series([r for r in records if r.layer == r.n_layers]).items()}


def _onset_lines(records: Sequence[Record]) -> list[str]:
    lines = ["Onset of synergy in the last layer (first probe from which it stays above the null):"]
    for series, found in synergy_onsets(records).items():
        lines.append(f"  {series[0]} ({series[2]} pairs): {found}; null {found.null:.3f} bits")
    return lines


def _cost_lines(records: Sequence[Record]) -> list[str]:
    probes = {(r.step, r.stage, r.task, r.design): r for r in records}.values()
    unsolved = sum(not record.converged for record in records)
    return [
        f"{len(records)} records from {len(probes)} probes: {sum(r.seconds for r in probes):.0f} s and"
        f" {sum(r.tokens for r in probes):,} tokens; {unsolved} estimates did not converge"
    ]


def _where(directory: Path) -> list[str]:
    return [
        f"Figures: {directory / 'figures' / 'time.png'}, {directory / 'figures' / 'depth.png'}",
        f"Curves:  tensorboard --logdir {directory}",
    ]


def _with_error(record: Record, atom: str) -> str:
    value, error = getattr(record, atom), record.standard_errors.get(atom, math.nan)
    text = "unsolved" if math.isnan(value) else f"{value + 0.0:.3f}"
    return text if math.isnan(error) else f"{text} ± {error:.3f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
