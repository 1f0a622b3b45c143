"""TensorBoard of a whole run: hyperparameters with the final atoms, a summary as text, event files from records.

Tags besides those of `fusionscope.records.tensorboard`: ``pid_onset/<series>`` (text, during training), and of a run
``pid_summary`` and ``pid_onsets`` (text) and the three of the HParams page. `count_tags` is the bound.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fusionscope.records.directory import RunDirectory
from fusionscope.records.run import Run
from fusionscope.records.schema import ATOMS, Record
from fusionscope.records.series import by_series, folders, last_layer, run_names
from fusionscope.records.tables import as_markdown, layer_onsets, stage_ends
from fusionscope.records.tensorboard import draw_heatmaps, draw_layout, draw_scalars, drawn_layers, tag

_RUN_TAGS = 7
_SERIES_TAGS = 22


def count_tags(n_series: int, n_layers: int) -> int:
    """The most tags that a run has: per series 22 and 4 for each layer drawn (at most 17), and 7 of the run.

    >>> count_tags(1, 4), count_tags(1, 80)
    (49, 97)
    """
    return n_series * (_SERIES_TAGS + len(ATOMS) * len(drawn_layers(n_layers))) + _RUN_TAGS


def draw_summary(writer: Any, records: Sequence[Record], run: Run | None = None) -> None:
    """Write the text summary and the HParams page: what was run, with the last atoms as metrics.

    Args:
        writer: A `torch.utils.tensorboard.SummaryWriter`.
        records: All records of the run.
        run: The run, where it has stages.
    """
    from torch.utils.tensorboard.summary import hparams

    step = max(record.step for record in records)
    writer.add_text("pid_summary", as_markdown(stage_ends(records)), step)
    writer.add_text("pid_onsets", as_markdown(layer_onsets(records)), step)
    ends = {series: points[-1] for series, points in by_series(last_layer(records)).items()}
    metrics = {tag(series, atom): record.atoms[atom] for series, record in ends.items() for atom in ATOMS}
    metrics = {name: value for name, value in metrics.items() if value == value}
    for summary in hparams(_hparams(records, run), metrics):  # type: ignore[no-untyped-call]
        writer.file_writer.add_summary(summary, step)


def rebuild(records: Sequence[Record], directory: Path, run: Run | None = None) -> Path:
    """Write event files anew from records, in place of those that were there.

    Args:
        records: All records of one run.
        directory: The run directory; the files go into its folder ``tensorboard``.
        run: The run, where it has stages.

    Returns:
        The folder.
    """
    from torch.utils.tensorboard import SummaryWriter

    target = RunDirectory(directory).tensorboard
    draft = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    names = folders(run_names(records))
    for identity, name in names.items():
        of_run = sorted((r for r in records if r.run == identity), key=lambda r: (r.step, r.stage_step == 0))
        writer = SummaryWriter(str(draft / name if len(names) > 1 else draft))
        draw_scalars(writer, of_run)
        draw_heatmaps(writer, of_run)
        draw_layout(writer, of_run)
        draw_summary(writer, of_run, run)
        writer.close()
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    return target


def _hparams(records: Sequence[Record], run: Run | None) -> dict[str, Any]:
    last = max(records, key=lambda record: record.step)
    values: dict[str, Any] = {
        "model": last.model,
        "stages": " > ".join(dict.fromkeys(r.stage for r in sorted(records, key=lambda r: r.step))),
        "steps": last.step,
        "designs": ", ".join(sorted({record.design for record in records})),
        "estimators": ", ".join(sorted({record.estimator for record in records})),
    }
    if run is not None and run.recipe:
        values |= {"recipe": run.recipe, "seed": "recipe" if run.seed is None else run.seed}
    return values
