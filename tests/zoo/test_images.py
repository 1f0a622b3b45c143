"""Odd images through every path that takes an image: the same pixels everywhere, or the same refusal."""

import base64
import csv
import io
import json
import tarfile
import zipfile

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fusionscope.data import LlavaJson, LlavaStream
from fusionscope.errors import BadImageError, DataError
from fusionscope.tasks import HeldOutTask, Question, custom, uniform_weights

TURNS = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Grey."}]
ASKED = {"question": "Q?", "options": ["up", "down"], "answer": "up"}


@pytest.fixture
def folder(tmp_path, images):
    (tmp_path / "images").mkdir()
    for image in images:
        (tmp_path / "images" / image.name).write_bytes(image.content)
    return tmp_path


@pytest.fixture(autouse=True)
def _arrow_files(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")


def named(folder, images):
    rows = [{**ASKED, "image": image.name} for image in images]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(folder / "rows.jsonl")


def in_folder(folder, images):
    return custom.load(path=named(folder, images), image_folder=str(folder / "images")).images


def in_zip(folder, images):
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        for image in images:
            archive.writestr(f"a/{image.name}", image.content)
    return custom.load(path=named(folder, images), image_folder=str(folder / "x.zip")).images


def in_tar(folder, images):
    with tarfile.open(folder / "x.tar", "w") as archive:
        archive.add(folder / "images", "./images")
    return custom.load(path=named(folder, images), image_folder=str(folder / "x.tar")).images


def at_an_address(folder, images):
    memory = fsspec.filesystem("memory")
    for image in images:
        memory.pipe_file(f"/zoo/{image.name}", image.content)
    return custom.load(path=named(folder, images), image_folder="memory://zoo").images


def in_cells_of_a_table(folder, images):
    with (folder / "t.tsv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ("id", "image", *ASKED), delimiter="\t")
        writer.writeheader()
        for image in images:
            cell = base64.b64encode(image.content).decode() or "none.png"
            writer.writerow({**ASKED, "options": '["up", "down"]', "id": image.name, "image": cell})
    return custom.load(path=str(folder / "t.tsv"), image_folder=str(folder)).images


def in_parquet(folder, images):
    rows = [{**ASKED, "id": image.name, "image": {"bytes": image.content, "path": image.name}} for image in images]
    pq.write_table(pa.Table.from_pylist(rows), folder / "t.parquet")
    return custom.load(path=str(folder / "t.parquet")).images


class Opened:
    """Images as Pillow opens them, without anything done to them."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return Image.open(io.BytesIO(self.images[i].content))


def of_ones_own(folder, images):
    return HeldOutTask(
        name="own",
        images=Opened(images),
        image_ids=[image.name for image in images],
        questions=[Question(text="Q?", candidates=("up", "down"))],
        answers=("up", "down"),
        pairs=torch.zeros(1, 2, dtype=torch.int64),
        pair_answers=torch.zeros(1, dtype=torch.int64),
        crossable=True,
        pair_weights={"uniform": uniform_weights(len(images), 1)},
    ).images


class Trained:
    """Images of training data, by place."""

    def __init__(self, row):
        self.row = row

    def __getitem__(self, i):
        (image,) = self.row(i)["image"]
        return image


def training_rows(folder, images):
    rows = [{"id": i, "image": image.name, "conversations": TURNS} for i, image in enumerate(images)]
    (folder / "train.json").write_text(json.dumps(rows))
    return str(folder / "train.json")


def trained_on(folder, images):
    return Trained(LlavaJson(training_rows(folder, images), image_folder=str(folder / "images")).__getitem__)


def trained_on_zip(folder, images):
    in_zip(folder, images)
    return Trained(LlavaJson(training_rows(folder, images), image_folder=str(folder / "x.zip")).__getitem__)


def streamed(folder, images):
    stream = LlavaStream(training_rows(folder, images), n=len(images), image_folder=str(folder / "images"))
    rows = dict(stream.rows(None))
    return Trained(lambda i: stream.open(i, rows[i]))


def trained_on_hub(folder, images):
    rows = [{"image": {"bytes": image.content, "path": image.name}, "conversations": TURNS} for image in images]
    table = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load_dataset", lambda name, configuration, **settings: table)
        return Trained(LlavaJson("hub:some/rows").__getitem__)


PATHS = (
    in_folder,
    in_zip,
    in_tar,
    at_an_address,
    of_ones_own,
    trained_on,
    trained_on_zip,
    streamed,
    trained_on_hub,
)
IN_CELLS = (in_cells_of_a_table, in_parquet)


@pytest.mark.parametrize("path", PATHS + IN_CELLS)
def test_every_path_shows_the_same_pixels(folder, images, path):
    good = [image for image in images if image.pixels is not None]
    opened = path(folder, good)
    for i, image in enumerate(good):
        assert opened[i].mode == "RGB", image.name
        np.testing.assert_array_equal(np.asarray(opened[i]), image.pixels, err_msg=image.name)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("path", PATHS)
def test_every_path_names_what_cannot_be_read(folder, images, path):
    bad = [image for image in images if image.pixels is None]
    opened = path(folder, bad)
    for i, image in enumerate(bad):
        with pytest.raises(BadImageError, match="cannot be read"):
            pytest.fail(f"{image.name} was opened: {opened[i]}")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("path", IN_CELLS)
def test_a_cell_that_holds_no_image_is_refused_at_once_or_when_it_is_opened(folder, images, path):
    for image in images:
        if image.pixels is None:
            with pytest.raises(DataError, match=r"cannot be read|is missing|is needed here"):
                pytest.fail(f"{image.name} was opened: {path(folder, [image])[0]}")


@pytest.mark.parametrize("path", [in_folder, in_zip, in_tar, at_an_address, in_parquet])
def test_one_file_has_one_digest_wherever_it_is(folder, images, path):
    files = [image for image in images if image.pixels is not None]
    expected = [in_folder(folder, files).digest(i) for i in range(len(files))]
    assert [path(folder, files).digest(i) for i in range(len(files))] == expected
