"""What writes files of tasks."""

import base64
import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


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
