"""TensorBoard of a run: hyperparameters with the final atoms, a summary as text, event files rebuilt from records.

Tags besides those of `fusionscope.records.tensorboard`: ``pid_onset/<series>`` (text, during training), and of a run
``pid_summary`` and ``pid_onsets`` (text) and the three of the HParams page. `count_tags` is the bound.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fusionscope.records import ATOMS, Record, Run
from fusionscope.records.series import by_series, folders, last_layer
from fusionscope.records.tensorboard import draw_heatmaps, draw_layout, draw_scalars, drawn_layers, tag
from fusionscope.study.report.tables import as_markdown, layer_onsets, stage_ends

FOLDER = "tensorboard"
_RUN_TAGS = 7
_SERIES_TAGS = 22


def count_tags(n_series: int, n_layers: int) -> int:
    """The most tags that a run has: per series 22 and 4 for each layer drawn (at most 17), and 7 of the run.

    >>> count_tags(1, 4), count_tags(1, 80)
    (49, 97)
    """
    return n_series * (_SERIES_TAGS + len(ATOMS) * len(drawn_layers(n_layers))) + _RUN_TAGS


def draw_summary(writer: Any, records: Sequence[Record], journey: Run | None = None) -> None:
    """Write the text summary and the HParams page: what was run, with the last atoms as metrics.

    Args:
        writer: A `torch.utils.tensorboard.SummaryWriter`.
        records: All records of the run.
        journey: The run's journey, where it has one.
    """
    from torch.utils.tensorboard.summary import hparams

    step = max(record.step for record in records)
    writer.add_text("pid_summary", as_markdown(stage_ends(records)), step)
    writer.add_text("pid_onsets", as_markdown(layer_onsets(records)), step)
    ends = {series: own[-1] for series, own in by_series(last_layer(records)).items()}
    metrics = {tag(series, atom): record.atoms[atom] for series, record in ends.items() for atom in ATOMS}
    metrics = {name: value for name, value in metrics.items() if value == value}
    for summary in hparams(_hparams(records, journey), metrics):  # type: ignore[no-untyped-call]
        writer.file_writer.add_summary(summary, step)


def rebuild(records: Sequence[Record], directory: Path, journey: Run | None = None) -> Path:
    """Write event files anew from records, in place of those that were there.

    Args:
        records: All records of one run.
        directory: The run directory; the files go into its folder ``tensorboard``.
        journey: The run's journey, where it has one.

    Returns:
        The folder.
    """
    from torch.utils.tensorboard import SummaryWriter

    target, draft = directory / FOLDER, directory / f".{FOLDER}.tmp"
    shutil.rmtree(draft, ignore_errors=True)
    names = folders(list(dict.fromkeys(record.run for record in records)))
    for run, name in names.items():
        own = sorted((r for r in records if r.run == run), key=lambda r: (r.step, r.stage_step == 0))
        writer = SummaryWriter(str(draft / name if len(names) > 1 else draft))
        draw_scalars(writer, own)
        draw_heatmaps(writer, own)
        draw_layout(writer, own)
        draw_summary(writer, own, journey)
        writer.close()
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    return target


def _hparams(records: Sequence[Record], journey: Run | None) -> dict[str, Any]:
    last = max(records, key=lambda record: record.step)
    found: dict[str, Any] = {
        "model": last.model,
        "stages": " > ".join(dict.fromkeys(r.stage for r in sorted(records, key=lambda r: r.step))),
        "steps": last.step,
        "designs": ", ".join(sorted({record.design for record in records})),
        "estimators": ", ".join(sorted({record.estimator for record in records})),
    }
    if journey is not None:
        found |= {"recipe": journey.recipe, "seed": "recipe" if journey.seed is None else journey.seed}
    return found
