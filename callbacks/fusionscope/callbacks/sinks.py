"""Where the records of a run go: the record file, TensorBoard, the trainer's other loggers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from fusionscope.records import Journey, Record, RecordFile
from fusionscope.records.tensorboard import draw_heatmaps, draw_layout, draw_scalars, purge_after, tag


class Sinks:
    """The record file and the loggers of one run; made on rank zero only.

    Args:
        trainer: The trainer whose loggers are written to.
        directory: The folder of ``records.jsonl``; by default that of the journey or of the logger.
    """

    def __init__(self, trainer: Trainer, directory: str | None) -> None:
        journey = Journey.find(trainer.default_root_dir)
        if directory is not None:
            self.folder = Path(directory)
        elif journey is not None:
            self.folder = journey.directory
        else:
            self.folder = Path(trainer.log_dir or trainer.default_root_dir)
        self.file = RecordFile(self.folder / "records.jsonl")
        self._own_writer: SummaryWriter | None = None
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        self._others = [logger for logger in trainer.loggers if not isinstance(logger, TensorBoardLogger)]
        if boards:
            self.writer: Any = boards[0].experiment
        else:
            self.writer = self._own_writer = SummaryWriter(str(self.folder / "tensorboard"))

    @property
    def run(self) -> str:
        """Name of the run: that of its folder."""
        return self.folder.resolve().name

    def resume_after(self, step: int) -> None:
        """Tell TensorBoard to forget what an interrupted run drew after this step."""
        purge_after(self.writer, step)

    def write(self, records: Sequence[Record], *, stage_step: int) -> None:
        """Add new records, the file first: everything else can be drawn again from it."""
        self.file.append(records)
        draw_scalars(self.writer, records)
        for logger in self._others:
            logger.log_metrics(metrics(records), step=stage_step)

    def draw(self, step: int) -> None:
        """Draw the heatmaps and the layout from all records up to a step."""
        records = [record for record in self.file.read() if record.run == self.run and record.step <= step]
        if records:
            draw_heatmaps(self.writer, records)
            draw_layout(self.writer, records)
            self.writer.flush()

    def close(self) -> None:
        """Close what was opened here; the trainer's loggers stay open."""
        if self._own_writer is not None:
            self._own_writer.close()


def metrics(records: Sequence[Record]) -> dict[str, float]:
    """The last layer's atoms by their TensorBoard tags, for loggers, early stopping and checkpoint monitors."""
    last = [record for record in records if record.layer == record.n_layers]
    return {tag(record.series, atom): value for record in last for atom, value in record.atoms.items()}
