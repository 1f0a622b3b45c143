"""One's own tasks, as people write them."""

import datasets
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


def test_columns_are_mapped_in_every_kind_of_file(tmp_path, lines, table, parquet, png):
    (tmp_path / "a.png").write_bytes(png(1))
    columns = {"image": "img", "question": "q", "options": "choices", "answer": "label"}
    row = {"img": "a.png", "q": "Q?", "choices": '["up", "down"]', "label": "down", "question": "not this"}
    for path in (
        lines(tmp_path / "c.jsonl", [row]),
        table(tmp_path / "c.csv", [row]),
        table(tmp_path / "c.tsv", [row], "\t"),
        parquet(tmp_path / "c.parquet", [row]),
    ):
        task = custom.load(path=path, columns=columns)
        assert (task.questions[0].text, task.answers, task.pair_answers.tolist()) == ("Q?", ("up", "down"), [1])


def test_columns_and_options_of_the_hub(monkeypatch, png):
    rows = [{"pic": {"bytes": png(i), "path": None}, "q": f"{i}?", "a": i % 2, "key": f"k{i}"} for i in range(2)]
    hub = datasets.Dataset.from_list(rows).cast_column("pic", datasets.Image())
    monkeypatch.setattr(datasets, "load_dataset", lambda name, configuration, split: hub)
    columns = {"image": "pic", "question": "q", "answer": "a", "id": "key"}
    task = custom.load(path="hub:me/mine", columns=columns, options=["cat", "dog"], crossable=True)
    assert (task.name, task.image_ids, task.pair_answers.tolist()) == ("custom/mine", ["k0", "k1"], [0, 1])
    assert task.answers == ("cat", "dog")


def test_settings_that_map_nothing_are_refused(tmp_path, lines, png):
    (tmp_path / "a.png").write_bytes(png(1))
    path = lines(tmp_path / "c.jsonl", [OWN])
    for settings, message in [
        ({"columns": {"label": "x"}}, "columns names 'label'"),
        ({"columns": {"answer": "question"}}, "name of one column"),
        ({"columns": "answer"}, "it is a mapping"),
        ({"options": [True, False]}, r"options=\[True, False\](?s:.*)quotes"),
        ({"options": ["one"]}, "2 to 26 different texts"),
        ({"n": 0}, "n=0"),
        ({"n": True}, "n=True"),
        ({"max_bad_images": -1}, "max_bad_images=-1"),
        ({"seed": "x"}, "seed='x'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            custom.load(path=path, **settings)
    with pytest.raises(DataError, match=r"row 1 has no column 'label'"):
        custom.load(path=path, columns={"answer": "label"})


def test_an_answer_that_is_a_text_and_another_letter_is_refused(tmp_path, lines, png):
    (tmp_path / "a.png").write_bytes(png(1))
    with pytest.raises(DataError, match="text of one option and the place of another"):
        custom.load(path=lines(tmp_path / "c.jsonl", [{**OWN, "options": ["b", "a"], "answer": "a"}]))
