"""Training data goes on where a run stopped, or the run is not resumed there."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from fusionscope.data import Collator
from fusionscope.errors import DataError
from fusionscope.sandbox import UnimodalData, UnimodalPretraining
from fusionscope.stages import AlignmentPretraining

SETTINGS = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "max_epochs": 2,
}


class SaveAt(L.Callback):
    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


class Users(L.LightningDataModule):
    """As anyone would write it."""

    def __init__(self, lvlm, rows):
        super().__init__()
        self.collate = Collator(lvlm.processor, family=lvlm.family)
        self.rows = rows

    def train_dataloader(self):
        return DataLoader(self.rows, batch_size=2, shuffle=True, collate_fn=self.collate)


@pytest.mark.parametrize("step", [3, 5])
def test_stage_0_goes_on_where_it_stopped(tmp_path, step):
    """Two epochs of four batches."""

    def fit(stop=None, resume=None):
        torch.manual_seed(0)
        stage = UnimodalPretraining(seed=1, warmup_steps=0)
        saving = [SaveAt(tmp_path / "a.ckpt", stop)] if stop else []
        trainer = L.Trainer(**SETTINGS, callbacks=saving, default_root_dir=tmp_path)
        trainer.fit(stage, UnimodalData(steps=4, batch_size=4, exam_scenes=4, seed=0), ckpt_path=resume)
        return stage.state_dict()

    whole = fit(stop=step)
    resumed = fit(resume=tmp_path / "a.ckpt")
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())


def test_a_loader_without_state_is_warned_of_and_not_resumed_within_an_epoch(tiny, toy, tmp_path):
    def fit(**more):
        stage = AlignmentPretraining(tiny, warmup_steps=0)
        stage.configure_model()
        trainer = L.Trainer(**SETTINGS, default_root_dir=tmp_path, callbacks=more.pop("callbacks", None))
        trainer.fit(stage, Users(stage.lvlm, toy(8)), **more)

    torch.manual_seed(0)
    saving = [SaveAt(tmp_path / "middle.ckpt", 2), SaveAt(tmp_path / "end.ckpt", 4)]
    with pytest.warns(UserWarning, match=r"training data \(DataLoader\) keeps no state"):
        fit(callbacks=saving)
    with pytest.raises(DataError, match=r"stopped after 2 batches of an epoch[\s\S]*LlavaDataModule"):
        fit(ckpt_path=tmp_path / "middle.ckpt")
    fit(ckpt_path=tmp_path / "end.ckpt")
