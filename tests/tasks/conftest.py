"""A small crossed task whose images are drawn, and what writes files of tasks."""

import base64
import csv
import io
import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fusionscope.tasks import HeldOutTask, Question, uniform_weights

TEXTS = ("Is it red?", "Is the large thing on the left of it a circle?", "Is it?", "Are there two of them?")


class Noise(Sequence):
    """Random images, drawn when asked for."""

    def __init__(self, n, shape=(40, 48)):
        self.n, self.shape, self.opened = n, shape, 0

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if not 0 <= i < self.n:
            raise IndexError(i)
        self.opened += 1
        return Image.fromarray(np.random.default_rng(i).integers(0, 255, (*self.shape, 3), dtype=np.uint8))


@pytest.fixture
def make_task():
    def make(n_images=5, n_questions=3, candidates=("yes", "no"), **changes) -> HeldOutTask:
        truth = torch.arange(n_images * n_questions).view(n_images, n_questions) % len(candidates)
        settings = {
            "name": "noise",
            "images": Noise(n_images),
            "image_ids": [f"{i}.png" for i in range(n_images)],
            "questions": [Question(text=text, candidates=candidates) for text in TEXTS[:n_questions]],
            "answers": candidates,
            "pairs": torch.cartesian_prod(torch.arange(n_images), torch.arange(n_questions)),
            "pair_answers": truth.flatten(),
            "crossable": True,
            "truth": truth,
            "pair_weights": {"uniform": uniform_weights(n_images, n_questions)},
        }
        return HeldOutTask(**settings | changes)

    return make


@pytest.fixture
def png():
    """The bytes of a small grey image file."""

    def write(value):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (value, value, value)).save(buffer, "PNG")
        return buffer.getvalue()

    return write


@pytest.fixture
def base64_png():
    """A small image file of one colour as base64 text."""

    def write(colour):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
        return base64.b64encode(buffer.getvalue()).decode()

    return write


@pytest.fixture
def paint():
    """Writes an image file of one colour."""

    def write(folder, name, colour=(1, 2, 3)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 2), colour).save(folder / name)

    return write


@pytest.fixture
def lines():
    """Writes rows as JSON lines; returns the path as a text."""

    def write(path, rows):
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def table():
    """Writes rows as a table; returns the path as a text."""

    def write(path, rows, delimiter=","):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
        return str(path)

    return write


@pytest.fixture
def parquet():
    """Writes rows as a Parquet file; returns the path as a text."""

    def write(path, rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path)
        return str(path)

    return write


@pytest.fixture
def coco(tmp_path, png):
    """A folder with two images of COCO's names in val2014."""
    folder = tmp_path / "coco"
    (folder / "val2014").mkdir(parents=True)
    for i in range(2):
        (folder / "val2014" / f"COCO_val2014_{i:012d}.jpg").write_bytes(png(50 * i))
    return folder
