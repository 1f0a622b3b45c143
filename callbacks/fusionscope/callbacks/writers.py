"""Where the records of a run go: the record file, TensorBoard, the trainer's other loggers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.tensorboard import SummaryWriter

from fusionscope.records import Record, RecordFile, Run
from fusionscope.records.event_files import draw_summary
from fusionscope.records.live import OnsetWatch
from fusionscope.records.tensorboard import (
    costs,
    draw_heatmaps,
    draw_layout,
    draw_scalars,
    purge_after,
    series_name,
    tag,
)

Log = Callable[[Mapping[str, float], int], None]
"""Writes numbers at a step of the stage to one of a trainer's other loggers."""


class Writers:
    """The record file, TensorBoard and other loggers of one run; made on the first rank only.

    Args:
        folder: The folder of ``records.jsonl``; its name is the run's.
        writer: A TensorBoard writer that is open already; by default one of its own in ``folder/tensorboard``.
        logs: Other loggers.
    """

    def __init__(self, folder: Path, writer: Any = None, logs: Sequence[Log] = ()) -> None:
        self.folder, self._logs = folder, logs
        self.file = RecordFile(folder / "records.jsonl")
        self.watch = OnsetWatch()
        self._own_writer = None if writer is not None else SummaryWriter(str(folder / "tensorboard"))
        self.writer: Any = writer if writer is not None else self._own_writer

    @property
    def run(self) -> str:
        """Name of the run: that of its folder."""
        return self.folder.resolve().name

    def resume_after(self, step: int) -> None:
        """Tell TensorBoard to forget what an interrupted run drew after this step."""
        purge_after(self.writer, step)

    def write(self, records: Sequence[Record], *, stage_step: int) -> None:
        """Add new records, the file first: everything else can be drawn again from it."""
        if not self.watch.seeded:
            self.watch.seed(r for r in self.file.read() if r.run == self.run and r.step < records[0].step)
        self.file.append(records)
        draw_scalars(self.writer, records)
        for series, text in self.watch.update(records).items():
            self.writer.add_text(f"pid_onset/{series_name(series)}", text, records[0].step)
            rank_zero_info(text)
        for log in self._logs:
            log(metrics(records) | costs(records), stage_step)

    def draw(self, step: int) -> None:
        """Draw the heatmaps and the layout from all records up to a step."""
        records = [record for record in self.file.read() if record.run == self.run and record.step <= step]
        if records:
            draw_heatmaps(self.writer, records)
            draw_layout(self.writer, records)
            self.writer.flush()

    def finish(self, step: int) -> None:
        """Draw everything that stands at the end: heatmaps, layout, summary, hyperparameters."""
        self.draw(step)
        records = [record for record in self.file.read() if record.run == self.run and record.step <= step]
        if records:
            draw_summary(self.writer, records, Run.find(self.folder))
            self.writer.flush()

    def close(self) -> None:
        """Close what was opened here; the trainer's loggers stay open."""
        if self._own_writer is not None:
            self._own_writer.close()


def metrics(records: Sequence[Record]) -> dict[str, float]:
    """The last layer's atoms by their TensorBoard tags, for loggers, early stopping and checkpoint monitors."""
    last = [record for record in records if record.layer == record.n_layers]
    return {tag(record.series, atom): value for record in last for atom, value in record.atoms.items()}
