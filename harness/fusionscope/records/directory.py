"""Where everything of a run lies: the one place that knows the names of its files.

RUN/
  run.json              identity of the run, its recipe and its stages
  .lock                 which process runs in it (`fusionscope.records.lock`)
  records.jsonl         what the probes measured, attempt by attempt
  STAGE/                one folder a stage; a run without stages keeps these in RUN itself
    config.yaml           the configuration that the stage ran with
    checkpoints/          step=00000123.ckpt for probing, last.ckpt to resume from, previous.ckpt where that is torn;
                          digests.jsonl says what each was when it was written
    model/                what the stage trained, as a Hugging Face directory
  tensorboard/          event files, where no logger of the trainer's writes them elsewhere
  report.html, figures/ the report
  sources.jsonl         what a sweep knows of the weights that it has loaded
  probes/               records of a sweep of the run's checkpoints, with a report of its own
  runs/                 reports of the runs of a sweep over several
  profile.yaml          what a profile compares; its tables are profile.* and correlations.csv
"""

import os
from dataclasses import dataclass
from pathlib import Path

LAST = "last.ckpt"
"""The checkpoint to resume from."""
PREVIOUS = "previous.ckpt"
"""The one before it, to resume from where the last is torn."""
_WORKER = "records.worker{}.jsonl"


@dataclass(frozen=True)
class StageDirectory:
    """What one stage of a run leaves.

    Args:
        path: The folder.
    """

    path: Path

    @classmethod
    def of_checkpoint(cls, checkpoint: str | os.PathLike[str]) -> "StageDirectory":
        """The stage whose folder of checkpoints a checkpoint lies in."""
        return cls(Path(checkpoint).resolve().parent.parent)

    @property
    def config(self) -> Path:
        """The configuration that the stage ran with."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """The folder of the stage's checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """What the stage trained, as a Hugging Face directory."""
        return self.path / "model"

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.checkpoints / LAST

    def checkpoint(self, step: int) -> Path:
        """The weights after this many optimizer steps of the stage."""
        return self.checkpoints / f"step={step:08d}.ckpt"

    def saved_steps(self) -> list[Path]:
        """The weights that were saved for probing, in order of steps."""
        return sorted(self.checkpoints.glob("step=*.ckpt"))


@dataclass(frozen=True)
class RunDirectory:
    """The paths of a run, or of a sweep or a profile, which have records too.

    Args:
        path: The directory; it need not exist.
    """

    path: Path

    def __init__(self, path: str | os.PathLike[str] = ".") -> None:
        object.__setattr__(self, "path", Path(path))

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The name of the run for people: that of its directory."""
        return self.path.resolve().name

    @property
    def run(self) -> Path:
        """Identity of the run, its recipe and its stages (`fusionscope.records.Run`)."""
        return self.path / "run.json"

    @property
    def lock(self) -> Path:
        """Which process runs in it, and holds the file locked."""
        return self.path / ".lock"

    @property
    def records(self) -> Path:
        """What the probes measured (`fusionscope.records.RecordFile`)."""
        return self.path / "records.jsonl"

    def worker_records(self, number: int) -> Path:
        """What one of a sweep's workers measured, until it is moved into `records`."""
        return self.path / _WORKER.format(number)

    def all_worker_records(self) -> list[Path]:
        """The files of all workers that are there."""
        return sorted(self.path.glob(_WORKER.format("*")))

    @property
    def sources(self) -> Path:
        """What a sweep knows of the weights that it has loaded (`fusionscope.study.sweep.sources`)."""
        return self.path / "sources.jsonl"

    def stage(self, name: str = "") -> StageDirectory:
        """The folder of a stage; without a name the directory itself, where a run has no stages."""
        return StageDirectory(self.path / name)

    @property
    def tensorboard(self) -> Path:
        """The folder of the event files."""
        return self.path / "tensorboard"

    @property
    def report(self) -> Path:
        """The page of the report."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """The folder of the report's figures."""
        return self.path / "figures"

    @property
    def probes(self) -> "RunDirectory":
        """A sweep of this run's checkpoints."""
        return RunDirectory(self.path / "probes")

    def part(self, folder: str) -> "RunDirectory":
        """The report of one of several runs in a sweep."""
        return RunDirectory(self.path / "runs" / folder)

    @property
    def profile(self) -> Path:
        """What a profile compares."""
        return self.path / "profile.yaml"

    def table(self, name: str, ending: str) -> Path:
        """A table of a profile."""
        return self.path / f"{name}.{ending}"
