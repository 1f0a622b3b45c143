"""A tiny LLaVA on disk, a few conversations about its world, and a trainer that writes nothing by itself."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from fusionscope.data import LlavaDataModule
from fusionscope.sandbox.model import write
from fusionscope.sandbox.world import COLOURS, IMAGE_SIZE, SHAPES


class Toy(Dataset[dict[str, Any]]):
    """Questions with one-word answers of one to three words; every fifth sample has no image."""

    def __init__(self, n: int = 32) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(i)
        pixels = torch.randint(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), generator=generator, dtype=torch.uint8)
        text_only = i % 5 == 4
        answer = " ".join(COLOURS[(i + j) % len(COLOURS)] for j in range(1 + i % 3))
        asked = f"what colour is the {SHAPES[i % len(SHAPES)]} ?"
        return {
            "id": str(i),
            "image": None if text_only else Image.fromarray(pixels.numpy()),
            "conversations": [
                {"from": "human", "value": asked if text_only else f"<image>\n{asked}"},
                {"from": "gpt", "value": answer},
            ],
        }


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write(tmp_path_factory.mktemp("tiny"), seed=0))


@pytest.fixture
def toy() -> type[Toy]:
    return Toy


@pytest.fixture
def fit(tmp_path: Path):
    """Train a stage on the toy data; returns its trainer."""

    def run(
        stage: L.LightningModule,
        *,
        n: int = 32,
        batch_size: int = 4,
        packing: bool = False,
        ckpt_path: str | None = None,
        **settings: Any,
    ):
        data = LlavaDataModule(train=Toy(n), batch_size=batch_size, packing=packing, seed=3)
        settings = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, **settings}
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            default_root_dir=tmp_path,
            enable_progress_bar=False,
            enable_model_summary=False,
            **settings,
        )
        trainer.fit(stage, datamodule=data, ckpt_path=ckpt_path)
        return trainer

    return run
