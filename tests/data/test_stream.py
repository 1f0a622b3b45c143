"""Streams: the same samples on any number of ranks and workers, resumable, bad pictures skipped."""

import json
from itertools import chain, islice

import datasets
import lightning as L
import pytest
from PIL import Image

from fusionscope.data import LlavaDataModule, LlavaStream
from fusionscope.data.loader import StreamLoader
from fusionscope.data.stream import StreamedBatches
from fusionscope.errors import ConfigError, DataError
from fusionscope.sandbox.model import write
from fusionscope.stages import AlignmentPretraining


@pytest.fixture
def rows(tmp_path):
    Image.new("RGB", (32, 32), (9, 9, 9)).save(tmp_path / "a.png")
    turns = [{"from": "human", "value": "<image>\nwhat is the colour ?"}, {"from": "gpt", "value": "red"}]
    data = [{"id": str(i), "image": "a.png", "conversations": turns} for i in range(11)]
    (tmp_path / "rows.json").write_text(json.dumps(data))
    return str(tmp_path / "rows.json")


def ids(batches) -> list[list[str]]:
    return [[one.row["id"] for one in batch if one.counts] for batch in batches]


@pytest.mark.parametrize("seed", [None, 3])
def test_ranks_share_each_global_batch(rows, seed):
    stream = LlavaStream(rows, n=11, buffer=4)
    one = ids(StreamedBatches(stream, 4, seed=seed))
    assert sorted(chain.from_iterable(one), key=int) == [str(i) for i in range(11)]
    assert (one == [[str(i) for i in range(11)][k : k + 4] for k in (0, 4, 8)]) == (seed is None)
    two = [ids(StreamedBatches(stream, 2, seed=seed, rank=rank, ranks=2)) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*two, strict=True)] == [sorted(batch) for batch in one]
    many = [list(StreamedBatches(stream, 1, seed=seed, rank=rank, ranks=5)) for rank in range(5)]
    assert [[batch[0].counts for batch in rank] for rank in many][4] == [True, True, False]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_goes_on_where_another_stopped_and_mixes_each_epoch_anew(rows, workers):
    def loader():
        batches = StreamedBatches(LlavaStream(rows, n=11, buffer=5), 2, seed=1)
        return StreamLoader(batches, collate_fn=lambda batch: [one.row["id"] for one in batch], num_workers=workers)

    whole = loader()
    first, second = list(whole), list(whole)
    assert len(whole) == len(first) == 6
    assert first != second
    assert sorted(chain.from_iterable(first)) == sorted(chain.from_iterable(second))
    partly = loader()
    for count, _ in enumerate(partly, start=1):
        if count == 4:
            break
    rest = loader()
    rest.load_state_dict(partly.state_dict())
    assert list(rest) == first[4:]
    assert list(rest) == second
    limited = loader()  # as trainer.limit_train_batches=3 leaves it
    assert list(islice(limited, 3)) == first[:3]
    assert list(limited) == second


def test_a_stage_trains_on_a_stream_and_resumes_in_the_middle(rows, tmp_path):
    model = str(write(tmp_path / "model", seed=0))

    def fit(steps, ckpt=None):
        data = LlavaDataModule(train=LlavaStream(rows, n=11, buffer=4), batch_size=2)
        stage = AlignmentPretraining(model)
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=2,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            callbacks=[Stop(steps)],
        )
        trainer.fit(stage, datamodule=data, ckpt_path=ckpt, weights_only=True)
        assert trainer.estimated_stepping_batches == 12
        return trainer, stage

    class Stop(L.Callback):
        def __init__(self, steps):
            self.steps = steps

        def on_train_batch_end(self, trainer, *arguments):
            if trainer.global_step == self.steps:
                trainer.save_checkpoint(tmp_path / "cut.ckpt")
                trainer.should_stop = True

    _, whole = fit(None)
    trainer, _ = fit(8)
    trainer, resumed = fit(None, str(tmp_path / "cut.ckpt"))
    assert trainer.global_step == 12
    for name, value in whole.state_dict().items():
        assert value.equal(resumed.state_dict()[name]), name


def test_bad_pictures_and_wrong_counts_are_told(rows, tmp_path):
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"row 1: image 'a\.png' cannot be read"):
        next(iter(StreamedBatches(LlavaStream(rows, n=11), 2, seed=None)))
    (batch, *_) = StreamedBatches(LlavaStream(rows, n=11), 2, seed=None, skip_bad=True)
    assert [one.counts for one in batch] == [False, False]
    assert "row 2" in batch[1].skipped
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="ended after 6 batches of 2"):
        list(StreamedBatches(LlavaStream(rows, n=13), 2, seed=None))
    data = LlavaDataModule(
        train=LlavaStream(rows, n=11), model=str(write(tmp_path / "m", seed=0)), group_by_length=True
    )
    with pytest.raises(ConfigError, match="group_by_length with a stream"):
        data.train_dataloader()


def test_a_stream_of_the_hub_opens_its_pictures_late(rows, tmp_path, monkeypatch):
    turns = [{"from": "human", "value": "<image>\nwhat ?"}, {"from": "gpt", "value": "red"}]
    table = datasets.Dataset.from_list([{"id": "0", "image": str(tmp_path / "a.png"), "conversations": turns}])
    hub = table.cast_column("image", datasets.Image()).to_iterable_dataset()
    monkeypatch.setattr(datasets, "load_dataset", lambda name, configuration, **settings: hub)
    stream = LlavaStream("hub:some/rows", n=1)
    ((number, row),) = stream.rows(None)
    assert isinstance(row["image"], dict)
    assert stream.open(number, row)["image"][0].getpixel((0, 0)) == (9, 9, 9)
