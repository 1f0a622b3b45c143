"""A tiny LLaVA and a LightningModule that is not ours."""

import lightning as L
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from fusionscope.callbacks import PIDCallback
from fusionscope.records import RecordFile
from fusionscope.sandbox.model import write
from fusionscope.tasks import load_task


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory) -> str:
    return str(write(tmp_path_factory.mktemp("model") / "tiny-llava", seed=0))


@pytest.fixture(scope="session")
def task():
    return load_task("sandbox/synergy", images=48)


class Foreign(L.LightningModule):
    """Wraps a Hugging Face model under a name of its own; draws from the global random stream at every step."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.net = torch.nn.ModuleDict({"vlm": AutoModelForImageTextToText.from_pretrained(path)})
        self.net.train()
        self.losses: list[float] = []

    def training_step(self, batch, batch_idx):
        noise = 0.1 * torch.randn_like(batch["pixel_values"])
        out = self.net["vlm"](**(batch | {"pixel_values": batch["pixel_values"] + noise}), labels=batch["input_ids"])
        self.losses.append(out.loss.item())
        return out.loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


@pytest.fixture
def fit(tiny_llava, task, tmp_path):
    """``fit(callbacks, **trainer_settings) -> (module, trainer)``: eight small batches, always the same."""
    processor = AutoProcessor.from_pretrained(tiny_llava)

    def collate(images):
        text = ["user : scene <image> . describe the picture"] * len(images)
        return dict(processor(text=text, images=images, return_tensors="pt"))

    def run(callbacks=(), *, ckpt_path=None, directory=tmp_path, **settings):
        L.seed_everything(7, verbose=False)
        module = Foreign(tiny_llava)
        data = torch.utils.data.DataLoader(list(task.images)[:16], batch_size=2, shuffle=True, collate_fn=collate)
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
        settings = {"max_epochs": 1, "logger": False, "enable_checkpointing": False} | quiet | settings
        trainer = L.Trainer(callbacks=list(callbacks), default_root_dir=directory, accelerator="cpu", **settings)
        trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=False)
        return module, trainer

    run.processor = processor
    return run


@pytest.fixture
def callback(task, fit):
    """``callback(**settings)``: a PIDCallback for the module that ``fit`` trains."""

    def make(**settings):
        settings = {"model": "net.vlm", "processor": fit.processor, "progress": False} | settings
        return PIDCallback([task], **settings)

    return make


@pytest.fixture(scope="session")
def steps():
    """``steps(directory)``: of the last layer's records, one for each probe of a task."""

    def read(directory) -> list[int]:
        records = RecordFile(directory / "records.jsonl").read()
        return [record.step for record in records if record.layer == record.n_layers]

    return read
