"""Where the records of a run go: the record file, TensorBoard, the trainer's other loggers."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fusionscope.records import Origin, Place, Record, RecordFile, Run
from fusionscope.records.event_files import draw_summary
from fusionscope.records.live import OnsetWatch
from fusionscope.records.series import last_layer
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
    """The record file, TensorBoard and other loggers of one training; made on the first rank only.

    Args:
        place: Where the records belong.
        say: Shows a line to who is watching.
        writer: A TensorBoard writer that is open already; by default one of its own in the run directory.
        logs: Other loggers.
    """

    def __init__(
        self, place: Place, *, say: Callable[[str], None], writer: Any = None, logs: Sequence[Log] = ()
    ) -> None:
        self.place = place
        self.file = RecordFile(place.directory.records)
        self.watch = OnsetWatch()
        self._logs = logs
        self._say = say
        self._own_writer = _open_board(place) if writer is None else None
        self.writer: Any = writer if writer is not None else self._own_writer

    @property
    def board(self) -> str:
        """The folder that curves are drawn in, as a path from the run directory, which may be renamed."""
        return os.path.relpath(self.writer.log_dir, self.place.directory)

    def records(self) -> list[Record]:
        """What was recorded of the attempt and of what it continues."""
        return self.file.branch(self.place.run, self.place.attempt.attempt)

    def begin(self, before: Origin | None) -> None:
        """Make TensorBoard forget what does not stand; a folder without the earlier curves gets them too.

        Args:
            before: What the checkpoint that training goes on from says of its records; None where it begins anew.
        """
        if self.place.note:
            self._say(f"PID: {self.place.note}")
        if self.place.outdated_after is not None:
            purge_after(self.writer, self.place.outdated_after)
        if before is not None and before.board != self.board:
            draw_scalars(self.writer, self.records())

    def write(self, records: Sequence[Record], *, stage_step: int) -> None:
        """Add new records, the file first: everything else can be drawn again from it."""
        if not self.watch.seeded:
            self.watch.seed(record for record in self.records() if record.step < records[0].step)
        self.file.append(records)
        draw_scalars(self.writer, records)
        for series, text in self.watch.update(records).items():
            self.writer.add_text(f"pid_onset/{series_name(series)}", text, records[0].step)
            self._say(text)
        for log in self._logs:
            log(metrics(records) | costs(records), stage_step)

    def draw(self) -> None:
        """Draw the heatmaps and the layout."""
        records = self.records()
        if records:
            draw_heatmaps(self.writer, records)
            draw_layout(self.writer, records)
            self.writer.flush()

    def finish(self) -> None:
        """Draw everything that stands at the end: heatmaps, layout, summary, hyperparameters."""
        self.draw()
        records = self.records()
        if records:
            draw_summary(self.writer, records, Run.find(self.place.directory))
            self.writer.flush()

    def close(self) -> None:
        """Close what was opened here; the trainer's loggers stay open."""
        if self._own_writer is not None:
            self._own_writer.close()


def _open_board(place: Place) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(place.directory.tensorboard))


def metrics(records: Sequence[Record]) -> dict[str, float]:
    """The last layer's atoms by their TensorBoard tags, for loggers, early stopping and checkpoint monitors."""
    last = last_layer(records)
    return {tag(record.series, atom): value for record in last for atom, value in record.atoms.items()}
