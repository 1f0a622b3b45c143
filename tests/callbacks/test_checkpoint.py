"""The checkpoint to resume from is whole at any time, be it a file or a directory of shards."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from fusionscope.callbacks import Schedule, ScheduledCheckpoint


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
    trainer = Trainer(shards=shards, full=False, global_step=0, is_global_zero=True, strategy=strategy)
    callback = ScheduledCheckpoint(Schedule(every_n_steps=1), directory=str(tmp_path))

    def last() -> str:
        return (tmp_path / "last.ckpt" / "shard" if shards else tmp_path / "last.ckpt").read_text()

    for step in (1, 2):
        trainer.global_step = step
        callback.on_train_batch_end(trainer, None)
        assert last() == str(step)
    trainer.global_step, trainer.full = 3, True
    with pytest.raises(OSError, match="no space"):
        callback.on_train_batch_end(trainer, None)
    assert last() == "2"
