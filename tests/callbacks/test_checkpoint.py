"""The checkpoint to resume from is whole at any time, be it a file or a directory of shards."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fusionscope.callbacks import Schedule, ScheduledCheckpoint
from fusionscope.errors import RunDirectoryError
from fusionscope.records import checkpoints


class Trainer(SimpleNamespace):
    """Saves the step as a file, or as a directory that it doesn't overwrite."""

    def save_checkpoint(self, path: Path, weights_only: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.shards:
            path.mkdir()
            path /= "shard"
        path.write_text(str(self.global_step))
        if self.full:
            raise OSError("no space left")


@pytest.mark.parametrize("shards", [False, True])
def test_the_last_checkpoint_is_replaced_all_or_nothing(shards, tmp_path):
    strategy = SimpleNamespace(barrier=lambda: None)
    trainer = Trainer(
        shards=shards, full=False, global_step=0, is_global_zero=True, strategy=strategy, fast_dev_run=False
    )
    callback = ScheduledCheckpoint(Schedule(every_n_steps=1), directory=str(tmp_path))

    def last() -> str:
        return (tmp_path / "last.ckpt" / "shard" if shards else tmp_path / "last.ckpt").read_text()

    for step in (1, 2):
        trainer.global_step = step
        callback.on_train_batch_end(trainer, None)
        assert last() == str(step)
    trainer.global_step = 3
    trainer.full = True
    with pytest.raises(OSError, match="no space"):
        callback.on_train_batch_end(trainer, None)
    assert last() == "2"


def test_a_disk_without_room_for_a_save_is_named_before_training(tmp_path, monkeypatch):
    """1,000 trained numbers of 4 bytes: once for probing, three times (with Adam's moments) beside the last one."""
    module = torch.nn.ModuleList([torch.nn.Linear(1000, 1, bias=False), torch.nn.Linear(9, 9).requires_grad_(False)])
    folder = tmp_path / "not" / "yet"
    free = {"bytes": 16_000}
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda path: SimpleNamespace(free=free["bytes"]))
    checkpoints.check_room(folder, module)
    free["bytes"] -= 1
    with pytest.raises(RunDirectoryError, match=r"not/yet has 0\.0 GB of free space, and a save takes at least"):
        checkpoints.check_room(folder, module)
