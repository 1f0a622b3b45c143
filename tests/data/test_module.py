"""The data module: bad pictures are named, counted and capped; fillers and skipped samples count for nothing."""

import json
import warnings

import lightning as L
import pytest
import torch
from PIL import Image

from fusionscope.data import LlavaDataModule, LlavaJson
from fusionscope.data.marked import Filled, Filling
from fusionscope.errors import ConfigError, DataError
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


def fit(model, data, folder):
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False, default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(AlignmentPretraining(model), datamodule=data)
    return trainer


def test_a_few_bad_pictures_may_be_skipped(rows, tmp_path):
    model = str(write(tmp_path / "model", seed=0))
    data = LlavaDataModule(train=LlavaJson(rows), batch_size=3, bad_images=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, data, tmp_path)
    assert len(data.skipped) == 2
    said = [str(one.message) for one in caught]
    assert any("gone.png" in one and "of 2 allowed" in one for one in said)
    assert any("lost.png" in one for one in said)
    with pytest.warns(UserWarning, match="of 1 allowed"), pytest.raises(DataError, match="2 bad pictures, the last"):
        fit(model, LlavaDataModule(train=LlavaJson(rows), batch_size=3, bad_images=1), tmp_path)
    with pytest.raises(DataError, match=r"row \d: image '(gone|lost)\.png'"):
        fit(model, LlavaDataModule(train=LlavaJson(rows), batch_size=3), tmp_path)


def test_what_stands_in_has_no_labels(rows):
    from fusionscope.data import Collator

    filled = Filled(LlavaJson(rows), skip_bad=True)
    batch = Filling(Collator(build_processor()))([filled[1], filled[-1], filled[0]])
    learnt = (batch["labels"] != -100).sum(1)
    assert learnt[0] > 0
    assert learnt[1:].tolist() == [0, 0]
    assert len(batch["skipped"]) == 1


def test_without_a_stage_it_needs_a_model(rows, tmp_path):
    with pytest.raises(ConfigError, match="has no processor"):
        LlavaDataModule(train=LlavaJson(rows)).train_dataloader()
    model = str(write(tmp_path / "model", seed=0))
    data = LlavaDataModule(train=LlavaJson(rows), model=model, batch_size=1, shuffle=False, bad_images=2)
    batches = list(data.train_dataloader())
    assert len(batches) == 6
    assert torch.equal(batches[1]["input_ids"], batches[2]["input_ids"])
    assert data.val_dataloader() == []
