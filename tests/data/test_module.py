"""The data module: bad pictures are named, counted and capped; fillers and skipped samples count for nothing."""

import json
import warnings
from pathlib import Path

import lightning as L
import pytest
import torch
from PIL import Image

from fusionscope.data import LlavaDataModule, LlavaJson
from fusionscope.data.marked import Filled, Filling
from fusionscope.errors import ConfigError, DataError
from fusionscope.lvlm import family_of
from fusionscope.sandbox.model import build_processor, write
from fusionscope.stages import AlignmentPretraining


@pytest.fixture
def rows(tmp_path):
    Image.new("RGB", (32, 32), (9, 9, 9)).save(tmp_path / "a.png")
    turns = [{"from": "human", "value": "<image>\nwhat is the colour ?"}, {"from": "gpt", "value": "red"}]
    names = ["gone.png", "a.png", "a.png", "lost.png", "a.png", "a.png"]
    data = [{"id": str(i), "image": name, "conversations": turns} for i, name in enumerate(names)]
    (tmp_path / "rows.json").write_text(json.dumps(data))
    return str(tmp_path / "rows.json")


def fit(model, data, folder, max_epochs=1, callbacks=()):
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=max_epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
    )
    trainer.fit(AlignmentPretraining(model, warmup_steps=0), datamodule=data)
    return trainer


def test_a_few_bad_pictures_may_be_skipped(rows, tmp_path):
    model = str(write(tmp_path / "model", seed=0))
    data = LlavaDataModule(train=LlavaJson(rows), batch_size=3, max_bad_images=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, data, tmp_path)
    assert len(data.skipped) == 2
    said = [str(one.message) for one in caught]
    assert any("gone.png" in one and "of 2 allowed" in one for one in said)
    assert any("lost.png" in one for one in said)
    with pytest.warns(UserWarning, match="of 1 allowed"), pytest.raises(DataError, match="2 bad images, the last"):
        fit(model, LlavaDataModule(train=LlavaJson(rows), batch_size=3, max_bad_images=1), tmp_path)
    with pytest.raises(DataError, match=r"row \d: image '(gone|lost)\.png'"):
        fit(model, LlavaDataModule(train=LlavaJson(rows), batch_size=3), tmp_path)


def test_a_bad_picture_counts_once_in_however_many_epochs_and_validations(rows, tmp_path):
    model = str(write(tmp_path / "model", seed=0))
    data = LlavaDataModule(train=LlavaJson(rows), validation=LlavaJson(rows), batch_size=3, max_bad_images=2)
    with pytest.warns(UserWarning, match="2 of 2 allowed"):
        fit(model, data, tmp_path, max_epochs=2)
    assert len(data.skipped) == 2


@pytest.mark.parametrize("packing", [False, True])
def test_a_few_samples_may_be_unfit_and_an_update_of_these_alone_changes_nothing(packing, rows, tmp_path):
    """A first question longer than max_length, as LLaVA's mixture has them; and a word that is the picture's mark."""
    model = str(write(tmp_path / "model", seed=0))
    told = json.loads(Path(rows).read_text())
    for one in told:
        one["image"] = "a.png"
    long, marked = ([{"from": "human", "value": text}, {"from": "gpt", "value": "red"}] for text in ("is " * 99, "hi"))
    marked[1]["value"] = "<image>"
    told[1:3] = [{"id": "long", "conversations": long}, {"id": "marked", "conversations": marked}]
    Path(rows).write_text(json.dumps(told))
    settings = {"train": LlavaJson(rows), "batch_size": 1, "shuffle": False, "max_length": 64, "packing": packing}
    with pytest.raises(DataError, match="sample 'long' has no supervised token"):
        fit(model, LlavaDataModule(**settings), tmp_path)
    with (
        pytest.warns(UserWarning, match="of 1 allowed"),
        pytest.raises(DataError, match=r"2 samples without supervised tokens.*'marked'"),
    ):
        fit(model, LlavaDataModule(**settings, max_bad_samples=1), tmp_path)
    watch = Watch()
    data = LlavaDataModule(**settings, max_bad_samples=2)
    with pytest.warns(UserWarning, match=r"1 of 2 allowed\): sample 'long'"):
        fit(model, data, tmp_path, callbacks=[watch])
    assert len(data.unfit) == 2
    first, second, third, fourth, *_ = watch.weights
    assert torch.equal(first, second)
    assert torch.equal(second, third)
    assert not torch.equal(third, fourth)


class Watch(L.Callback):
    """A trained weight after each update."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.weights.append(next(p for p in pl_module.parameters() if p.requires_grad).detach().clone())


def test_texts_alone_have_a_gradient_where_the_projector_learns_alone(rows, tmp_path):
    words = [{"from": "human", "value": "what is the colour ?"}, {"from": "gpt", "value": "red"}]
    Path(rows).write_text(json.dumps([{"id": str(i), "conversations": words} for i in range(2)]))
    fit(str(write(tmp_path / "model", seed=0)), LlavaDataModule(train=LlavaJson(rows), batch_size=2), tmp_path)


def test_what_stands_in_has_no_labels(rows):
    from fusionscope.data import Collator

    filled = Filled(LlavaJson(rows), skip_bad=True)
    batch = Filling(Collator(build_processor(), family=family_of("llava")))([filled[1], filled[-1], filled[0]])
    learnt = (batch["labels"] != -100).sum(1)
    assert learnt[0] > 0
    assert learnt[1:].tolist() == [0, 0]
    assert len(batch["skipped"]) == 1


def test_without_a_stage_it_needs_a_model(rows, tmp_path):
    with pytest.raises(ConfigError, match="has no processor"):
        LlavaDataModule(train=LlavaJson(rows)).train_dataloader()
    model = str(write(tmp_path / "model", seed=0))
    data = LlavaDataModule(train=LlavaJson(rows), model=model, batch_size=1, shuffle=False, max_bad_images=2)
    batches = list(data.train_dataloader())
    assert len(batches) == 6
    assert torch.equal(batches[1]["input_ids"], batches[2]["input_ids"])
    assert data.val_dataloader() == []
