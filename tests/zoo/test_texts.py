"""Odd texts through every file format of tasks and training data: they arrive as they are, or are refused."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fusionscope.data.rows import rows_of
from fusionscope.tasks import custom


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    return tmp_path


def lines(folder, rows):
    (folder / "x.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return folder / "x.jsonl"


def escaped_list(folder, rows):
    (folder / "x.json").write_text(json.dumps(rows, indent=1))
    return folder / "x.json"


def table(folder, rows, delimiter=",", ending="csv"):
    path = folder / f"x.{ending}"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows({**row, "options": json.dumps(row["options"])} for row in rows)
    return path


def tabs(folder, rows):
    return table(folder, rows, "\t", "tsv")


def parquet(folder, rows):
    pq.write_table(pa.Table.from_pylist(rows), folder / "x.parquet")
    return folder / "x.parquet"


def as_read(text):
    """Blanks at the ends of lines are no part of a question, and lines end as in a prompt."""
    return "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").split("\n")).strip()


@pytest.mark.parametrize("write", [lines, escaped_list, table, tabs, parquet])
def test_texts_of_tasks_arrive_as_they_are(folder, texts, write):
    rows = [{"image": "a.png", "question": text, "options": ["up", "down"], "answer": "up"} for text in texts.values()]
    task = custom.load(path=str(write(folder, rows)), image_folder=str(folder))
    assert [question.text for question in task.questions] == [as_read(text) for text in texts.values()]
    options = [{**row, "question": "Q?", "options": [row["question"], "down"], "answer": "down"} for row in rows]
    task = custom.load(path=str(write(folder, options)), image_folder=str(folder))
    for question, text in zip(task.questions, texts.values(), strict=True):
        assert question.text == f"Q?\nA. {text.strip()}\nB. down"


@pytest.mark.parametrize("write", [lines, escaped_list])
def test_texts_of_training_rows_arrive_as_they_are(folder, texts, write):
    rows = [
        {"id": name, "conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": text}]}
        for name, text in texts.items()
    ]
    read = list(rows_of(str(write(folder, rows))))
    assert [turn["value"] for row in read for turn in row["conversations"]] == [
        text for text in texts.values() for _ in range(2)
    ]
