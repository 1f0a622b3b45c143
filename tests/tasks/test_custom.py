"""One's own tasks, as people write them."""

import pytest

from fusionscope.errors import ConfigError, DataError
from fusionscope.tasks import custom

OWN = {"image": "a.png", "question": "Q?", "options": ["up", "down"], "answer": "down"}


def test_custom_answers_themselves_where_options_are_shared_and_letters_else(tmp_path, lines, paint):
    paint(tmp_path, "a.png")
    rows = [
        {"image": "a.png", "question": q, "options": ["yes", "no"], "answer": a} for q, a in [("X?", "Yes"), ("Y?", 1)]
    ]
    task = custom.load("mine", path=lines(tmp_path / "c.jsonl", rows), crossable=True)
    assert (task.name, task.answers, task.truth.tolist()) == ("custom/mine", ("yes", "no"), [[0, 1]])
    assert task.questions[0].text == "X?"
    rows[1]["options"] = ["up", "down"]
    task = custom.load(path=lines(tmp_path / "c.jsonl", rows))
    assert (task.name, task.answers) == ("custom/c", ("A", "B"))
    assert task.questions[1].text == "Y?\nA. up\nB. down"
    with pytest.raises(ConfigError, match="crossable=True with options that differ"):
        custom.load(path=str(tmp_path / "c.jsonl"), crossable=True)
    for change, message in [
        ({"answer": "left"}, "column 'answer': 'left'"),
        ({"answer": 2}, "column 'answer': 2"),
        ({"options": ["a", "a"]}, "column 'options'"),
        ({"options": ["a", "b", "c"]}, "the first line has 2"),
    ]:
        with pytest.raises(DataError, match=message):
            custom.load(path=lines(tmp_path / "c.jsonl", [rows[0], {**rows[1], **change}]))


def test_custom_options_and_answers_as_people_write_them(tmp_path, lines, table, png):
    (tmp_path / "a.png").write_bytes(png(1))
    for change in (
        {"answer": "B"},
        {"answer": 1},
        {"options": {"A": "up", "B": "down"}},
        {"options": '["up", "down"]'},
        {"options": ["some", "None"], "answer": "None"},
        {"options": ["0", "1"], "answer": 1},
        {"image": str(tmp_path / "a.png")},
    ):
        task = custom.load(path=lines(tmp_path / "c.jsonl", [OWN | change]))
        assert task.pair_answers.tolist() == [1]
    five = [OWN | {"options": list(letters), "answer": letters[-1]} for letters in ("vwxyz", "uvwxy")]
    assert custom.load(path=lines(tmp_path / "c.jsonl", five)).answers == ("A", "B", "C", "D", "E")
    assert custom.load(path=table(tmp_path / "c.csv", [OWN | {"options": '["up", "down"]'}])).answers == ("up", "down")
    for change, message in [
        ({"options": [1, 2, 3], "answer": 2}, "text of one option and the place of another"),
        ({"options": "up|down"}, r"column 'options': 'up\|down'"),
        ({"image": "https://a/b.png"}, "not fetched from the net"),
        ({"answer": None}, "column 'answer': None"),
        ({"image": ["a.png"]}, "column 'image'"),
    ]:
        with pytest.raises(DataError, match=message):
            custom.load(path=lines(tmp_path / "c.jsonl", [OWN | change]))
