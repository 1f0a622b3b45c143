"""Rows out of files of every kind."""

import gzip
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


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["c.json", "c.jsonl", "c.JSON", "c.ndjson"])
@pytest.mark.parametrize("form", ["list", "pretty", "lines", "windows"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_what_a_file_holds_decides_and_not_its_name(tmp_path, png, packed, name, form, mark):
    (tmp_path / "a.png").write_bytes(png(1))
    rows = [OWN, {**OWN, "question": "zwei ä 猫?"}]
    texts = {
        "list": json.dumps(rows),
        "pretty": json.dumps(rows, indent=2, ensure_ascii=False),
        "lines": "\n".join(map(json.dumps, rows)),
        "windows": "\r\n\r\n".join(map(json.dumps, rows)) + "\r\n",
    }
    content = mark + texts[form].encode()
    path = tmp_path / (name + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(content) if packed else content)
    assert len(custom.load(path=str(path)).questions) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{0}][{0}]", "after its list of 1 rows comes '"),
        ("[{0}]\n{0}", "after its list of 1 rows comes"),
        ("[{0},]", "row 2 is no JSON"),
        ("[{0} {0}]", "after row 1: '"),
        ("[{0}", "after row 1: the end of the file"),
        ("[{0}, [{0}]]", "row 2 is "),
        ("{0}{0}", "row 1 is no JSON: Extra data"),
        ("{0}\n\n{0} x", "row 3 is no JSON"),
        ('{0}\n{{"image": "a.png", "image": "b.png"}}', "row 2 is no JSON: the key 'image' comes twice"),
        ('[{0}, {{"image": "a.png", "image": "b.png"}}]', "row 2 is no JSON: the key 'image' comes twice"),
        ('{{"question": "\\ud83d"}}', "row 1 is no UTF-8"),
        ('[{0}, {{"question": ["\\uDC00"]}}]', "row 2 is no UTF-8"),
        ("[" * 20_000, "row 1 is no JSON"),
    ],
)
def test_files_are_read_to_their_end_or_refused_with_the_row(tmp_path, text, message):
    path = tmp_path / "c.json"
    path.write_text(text.replace("{0}", json.dumps(OWN)).replace("{{", "{").replace("}}", "}"))
    with pytest.raises(DataError, match=rf"c\.json.*{message}"):
        custom.load(path=str(path))


def test_a_whole_surrogate_pair_is_a_sign(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "c.jsonl").write_text(json.dumps(OWN).replace("Q?", "\\ud83d\\ude42?"))
    assert custom.load(path=str(tmp_path / "c.jsonl")).questions[0].text == "🙂?"


HEAD = "image\tquestion\tanswer\n"


def tsv(path, *questions):
    path.write_text(HEAD + "".join(f"a.png\t{question}\tup\n" for question in questions))
    return str(path)


def test_quotation_marks_within_a_cell_are_text(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png(1))
    path = tsv(tmp_path / "c.tsv", 'a 5" screen?', "it's?", '"two\nlines, ""quoted"""')
    task = custom.load(path=path, options=["up", "down"])
    assert [question.text for question in task.questions] == ['a 5" screen?', "it's?", 'two\nlines, "quoted"']


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        (("1", '"2', "3", "4", '5"', "6"), "lines 3 to 6: a quotation mark joins them to one row"),
        (("1", '"2', "3", "4", '"5', "6"), "row at line 3"),
        (("1", '"2', "3"), "row at line 3: unexpected end of data"),
        (("1", '"Hello" is what?'), "row at line 3"),
        (("1", "2\t3"), r"row 3 \(line 3\) has 4 cells"),
    ],
)
def test_a_stray_quotation_mark_swallows_no_rows(tmp_path, png, questions, message):
    (tmp_path / "a.png").write_bytes(png(1))
    with pytest.raises(DataError, match=rf"c\.tsv.*{message}"):
        custom.load(path=tsv(tmp_path / "c.tsv", *questions), options=["up", "down"])


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "c.csv").write_text("image,image\na,b\n")
    with pytest.raises(DataError, match="two columns image"):
        custom.load(path=str(tmp_path / "c.csv"))
    columns = [pa.array([1]), pa.array([2])]
    pq.write_table(pa.Table.from_arrays(columns, names=["image", "image"]), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="two columns image"):
        custom.load(path=str(tmp_path / "c.parquet"))
