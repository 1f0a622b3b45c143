"""What a run found: a page, its figures and a short table."""

import math
import os
from collections.abc import Sequence

from fusionscope.errors import RunDirectoryError
from fusionscope.records import AttemptHistory, Record, RecordFile, Run, RunDirectory, read_records, tables
from fusionscope.records.series import folders, last_layer, run_names, title
from fusionscope.study.page import save
from fusionscope.study.report.figures import depth_figure, diagnostics_figure, time_figure
from fusionscope.study.report.page import costs, run_page


def report(run_dir: str | os.PathLike[str]) -> str:
    """Write the page and the figures of a run into its directory and return a table as text.

    Args:
        run_dir: A directory with ``records.jsonl``, of a run or of a probe sweep. ``report.html`` goes there and the
            figures into ``figures/``; several runs in one sweep get a folder each.

    Raises:
        RunDirectoryError: No records there, or none of the last layer.
    """
    directory = RunDirectory(run_dir)
    records = read_records(directory.path)
    _need_last_layer(directory, records)
    names = run_names(records)
    history = RecordFile(directory.records).history()
    if len(names) == 1:
        # A sweep of a run lies in a folder of it.
        run = Run.find(directory) or Run.find(directory.path.resolve().parent)
        return f"{_run_report(directory, records, run, directory.name, history)}\n{_curves(directory)}"
    parts = []
    for identity, folder in folders(names).items():
        of_run = [record for record in records if record.run == identity]
        name = names[identity]
        past = [attempt for attempt in history if attempt.attempt.run == identity]
        parts.append(f"{name}\n{_run_report(directory.part(folder), of_run, None, name, past)}")
    return "\n\n".join([*parts, _curves(directory)])


def summary(records: Sequence[Record]) -> str:
    """What happened, as text: atoms at the end of each stage, onsets, costs."""
    designs = sorted({f"{r.design} design, {r.estimator} estimator" for r in records})
    lines = [f"At the end of each stage ({'; '.join(designs)}):", *tables.as_text(tables.stage_ends(records)), ""]
    above = "first probe from which it stays above the null"
    lines.append(f"Onset of synergy in the last layer ({above}), all of them together at 95 %:")
    onsets = tables.synergy_onsets(records)
    for series, onset in onsets.items():
        name = title(series, list(onsets))
        name = name if name != series.task else f"{name} ({series.variant})"
        lines.append(f"  {name}: {onset}" + ("" if math.isnan(onset.null) else f"; null {onset.null:.3f} bits"))
    return "\n".join([*lines, "", costs(records)])


def _run_report(
    directory: RunDirectory, records: Sequence[Record], run: Run | None, name: str, history: Sequence[AttemptHistory]
) -> str:
    save(time_figure(records, run), directory.figures / "time")
    save(depth_figure(records), directory.figures / "depth")
    save(diagnostics_figure(records), directory.figures / "diagnostics")
    directory.report.write_text(run_page(records, run, name=name, history=history), encoding="utf-8")
    where = f"Report:  {directory.report} (figures as PNG and SVG in {directory.figures})"
    attempts = ["Attempts at this run:", *tables.as_text(tables.attempts(history)), ""] if len(history) > 1 else []
    return "\n".join([summary(records), "", *attempts, where])


def _need_last_layer(directory: RunDirectory, records: Sequence[Record]) -> None:
    for identity, name in run_names(records).items():
        of_run = [record for record in records if record.run == identity]
        if not last_layer(of_run):
            layers = sorted({record.layer for record in of_run})
            raise RunDirectoryError(
                f"{directory} has records of layers {', '.join(map(str, layers))} of {name!r}",
                f"a report is about a model's own answers, which are in its last layer, {of_run[0].n_layers}",
                "probe that layer too: `fusionscope probe --layers last` adds to the records",
            )


def _curves(directory: RunDirectory) -> str:
    return f"Curves:  tensorboard --logdir {directory}"
