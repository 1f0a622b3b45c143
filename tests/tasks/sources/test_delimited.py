"""CSV and TSV: quotation marks are text or hold their cell, and swallow no rows."""

import pytest

from fusionscope.errors import DataError
from fusionscope.tasks import custom

OWN = {"image": "a.png", "question": "Q?", "options": ["up", "down"], "answer": "down"}


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
