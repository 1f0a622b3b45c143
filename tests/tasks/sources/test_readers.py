"""Rows out of files of every kind."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusionscope.errors import DataError
from fusionscope.tasks import custom

OWN = {"image": "a.png", "question": "Q?", "options": ["up", "down"], "answer": "down"}


def test_lines_that_are_not_what_they_seem(tmp_path, lines, table, png):
    (tmp_path / "a.png").write_bytes(png(1))
    task = custom.load(path=lines(tmp_path / "c.jsonl", [OWN | {"question": "one\u2028two\x85three?"}, OWN]))
    assert len(task.questions) == 2
    (tmp_path / "c.jsonl").write_bytes((json.dumps(OWN) + "\n").encode() + b'{"question": "\xe9"}')
    with pytest.raises(DataError, match=r"row 2 is no UTF-8"):
        custom.load(path=str(tmp_path / "c.jsonl"))
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"x\.parquet after row 0"):
        custom.load(path=str(tmp_path / "x.parquet"))
    (tmp_path / "x.csv").write_text("image,question,options,answer\na,b,c,d,e,f\n")
    with pytest.raises(DataError, match=r"x\.csv is no table(?s:.*)line 2"):
        custom.load(path=str(tmp_path / "x.csv"))


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "c.csv").write_text("image,image\na,b\n")
    with pytest.raises(DataError, match="two columns image"):
        custom.load(path=str(tmp_path / "c.csv"))
    columns = [pa.array([1]), pa.array([2])]
    pq.write_table(pa.Table.from_arrays(columns, names=["image", "image"]), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="two columns image"):
        custom.load(path=str(tmp_path / "c.parquet"))
