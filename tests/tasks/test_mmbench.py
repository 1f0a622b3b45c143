"""MMBench as published, and from the hub."""

import base64

import datasets
import pytest

from fusionscope.errors import ConfigError, DataError
from fusionscope.tasks import mmbench


@pytest.fixture
def mm(base64_png):
    return {
        "index": "1",
        "question": "Which?",
        "hint": "nan",
        "A": "red",
        "B": "blue",
        "C": "green",
        "D": "2",
        "answer": "B",
        "category": "c",
        "l2-category": "l",
        "split": "dev",
        "image": base64_png((255, 0, 0)),
    }


@pytest.fixture
def published(png):
    return {
        "index": "1",
        "question": "What prints?\n  1",
        "hint": "nan",
        "A": "x:\n  y",
        "B": "None",
        "C": "c",
        "D": "d",
        "answer": "B",
        "category": "c",
        "split": "dev",
        "image": base64.b64encode(png(7)).decode(),
    }


def test_mmbench_with_hints_references_and_fewer_options(tmp_path, table, mm):
    rows = [
        mm,
        mm | {"index": "2", "hint": "Look.", "image": "1", "answer": "d"},
        mm | {"index": "3", "C": "", "D": "nan"},
        mm | {"index": "4", "image": "2", "question": "What?"},
    ]
    path = table(tmp_path / "t.tsv", rows, "\t")
    task = mmbench.load(path=path)
    assert task.pair_answers.tolist() == [1, 3, 1]
    assert task.image_ids == ["1"]
    assert task.images[0].getpixel((0, 0)) == (255, 0, 0)
    assert task.questions[1].text.startswith("Look.\nWhich?\nA. red\nB. blue\nC. green\nD. 2\nAnswer")
    assert task.dropped == {"2 options": 1}
    assert mmbench.load(path=path, options=2).answers == ("A", "B")


def test_mmbench_circular_rotates_the_right_answer_along(tmp_path, table, mm):
    task = mmbench.load("circular", path=table(tmp_path / "t.tsv", [mm], "\t"))
    assert task.pair_answers.tolist() == [1, 0, 3, 2]
    for question, answer in zip(task.questions, task.pair_answers.tolist(), strict=True):
        assert f"{'ABCD'[answer]}. blue" in question.text


def test_mmbench_refuses_what_it_cannot_mean(tmp_path, table, mm):
    for change, message in [
        ({"index": "1"}, "row 3 column 'index'"),
        ({"index": "2", "B": "", "C": "x"}, "row 3 column 'B'"),
        ({"index": "2", "C": "", "D": "", "answer": "C"}, r"row 3 column 'answer': 'C'(?s:.*)2 options"),
        ({"index": "2", "answer": ""}, "row 3 column 'answer'"),
    ]:
        with pytest.raises(DataError, match=message):
            mmbench.load(path=table(tmp_path / "t.tsv", [mm, mm | change], "\t"))
    loop = [mm | {"image": "2"}, mm | {"index": "2", "image": "1"}]
    with pytest.raises(DataError, match="go round in a circle"):
        mmbench.load(path=table(tmp_path / "t.tsv", loop, "\t"))


def test_a_name_on_the_hub_may_carry_a_configuration(monkeypatch, png, published):
    asked = []

    def load(name: str, configuration: str | None, *, split: str) -> datasets.Dataset:
        asked.append((name, configuration, split))
        if configuration is None:
            raise ValueError("Config name is missing. Please pick one among: ['cc', 'cn', 'en']")
        row = {**published, "image": {"bytes": png(7), "path": None}}
        return datasets.Dataset.from_list([row]).cast_column("image", datasets.Image())

    monkeypatch.setattr(datasets, "load_dataset", load)
    task = mmbench.load(path="hub:lmms-lab/MMBench:en")
    assert task.images[0].getpixel((0, 0)) == (7, 7, 7)
    assert asked == [("lmms-lab/MMBench", "en", "dev")]
    with pytest.raises(ConfigError, match=r"Config name is missing(?s:.*)owner/name:configuration"):
        mmbench.load(path="hub:lmms-lab/MMBench")


def test_mmbench_as_published_holds_its_rotations(tmp_path, table, parquet, png, published):
    rotated = [
        published
        | {"ABCD"[i]: published["ABCD"[(i + r) % 4]] for i in range(4)}
        | {"index": str(1_000_000 * r + 1), "answer": "ABCD"[(1 - r) % 4], "image": "1"}
        for r in range(1, 4)
    ]
    path = table(tmp_path / "mmbench_dev_20230712.tsv", [published, *rotated], "\t")
    task = mmbench.load(path=path)
    assert task.dropped == {"rotation of a question": 3}
    assert task.questions[0].text.startswith("What prints?\n  1\nA. x:\n  y\nB. None\nC. c")
    circular = mmbench.load("circular", path=path)
    assert [(q.text.split("\n")[2][:5], a) for q, a in zip(circular.questions, circular.pair_answers, strict=True)] == [
        ("A. x:", 1),
        ("A. No", 0),
        ("A. c", 3),
        ("A. d", 2),
    ]
    held = [
        {**row, "index": int(row["index"]), "image": {"bytes": png(7), "path": None}} for row in [published, *rotated]
    ]
    parquet(tmp_path / "en" / "dev-00000-of-00001.parquet", held)
    assert mmbench.load(path=str(tmp_path / "en")).questions == task.questions


def test_mmbench_without_answers_and_with_lost_references(tmp_path, table, published):
    for row in ({key: value for key, value in published.items() if key != "answer"}, published | {"answer": "nan"}):
        with pytest.raises(DataError, match=r"test part of MMBench(?s:.*)dev part"):
            mmbench.load(path=table(tmp_path / "t.tsv", [row], "\t"))
    with pytest.raises(DataError, match=r"row 3 column 'image': '77'(?s:.*)no row has this index"):
        mmbench.load(path=table(tmp_path / "t.tsv", [published, published | {"index": "2", "image": "77"}], "\t"))
    with pytest.raises(ConfigError, match=r"row 2 column 'image' names the file 'a.png'(?s:.*)image_folder"):
        mmbench.load(path=table(tmp_path / "t.tsv", [published | {"image": "a.png"}], "\t"))


def test_a_fifth_option_is_another_number_of_options(tmp_path, table, mm):
    rows = [{**mm, "E": ""}, {**mm, "index": "2", "question": "What?", "E": "pink", "answer": "E"}]
    task = mmbench.load(path=table(tmp_path / "t.tsv", rows, "\t"))
    assert (len(task.pairs), task.dropped) == (1, {"5 options": 1})


def test_an_images_mark_in_a_text_is_refused_with_its_row(tmp_path, table, mm):
    for change in ({"question": "<image>\nWhich?"}, {"hint": "see <image 1>"}, {"B": "<image 2>"}):
        with pytest.raises(DataError, match=r"row 2 column '\w+': '.*<image(?s:.*)take the mark out"):
            mmbench.load(path=table(tmp_path / "t.tsv", [{**mm, **change}], "\t"))


def test_a_path_is_never_looked_up_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", None)
    with pytest.raises(ConfigError, match=r"no file 'lmms-lab/MMBench'(?s:.*)hub:lmms-lab/MMBench"):
        mmbench.load(path="lmms-lab/MMBench")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lmms-lab" / "MMBench").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is a folder here as well"):
        mmbench.load(path="hub:lmms-lab/MMBench")
    for name in ("hub:MMBench", "hub:", "hub:a/b/c"):
        with pytest.raises(ConfigError, match="hub:owner/name"):
            mmbench.load(path=name)
