"""Rows of training data: read to the end, whatever the file's form, or refused with file and row."""

import gzip
import json

import pytest
from PIL import Image

from fusionscope.data import LlavaJson
from fusionscope.data.rows import checked, rows_of
from fusionscope.errors import DataError

TURNS = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Grey."}]
ROW = {"id": "0", "image": "a.png", "conversations": TURNS}


@pytest.mark.parametrize("name", ["r.json", "r.jsonl", "r.JSON", "r.json.gz"])
@pytest.mark.parametrize("form", ["list", "lines"])
def test_one_reader_whatever_the_name(tmp_path, name, form):
    rows = [ROW, {**ROW, "id": 1}]
    text = json.dumps(rows) if form == "list" else "\n".join(map(json.dumps, rows))
    content = ("\ufeff" + text).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert [row["id"] for row in rows_of(str(tmp_path / name))] == ["0", "1"]


def test_two_lists_glued_together_are_refused(tmp_path):
    (tmp_path / "glued.json").write_text(json.dumps([ROW] * 4) + json.dumps([ROW] * 36))
    with pytest.raises(DataError, match=r"glued\.json: after its list of 4 rows comes"):
        LlavaJson(str(tmp_path / "glued.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video": "a.mp4"}, "row 2 has video 'a.mp4'"),
        ({"videos": ["a.mp4"]}, "row 2 has videos"),
        ({"audio": "a.wav"}, "row 2 has audio"),
        ({"images": ["b.png"]}, "row 2 has both image and images"),
        ({"image": [3]}, "row 2 has the image 3"),
        ({"image": {"bytes": "x", "path": "a.png"}}, "row 2 has the image"),
        ({"conversations": [{"from": "tool", "value": "x"}]}, "row 2: turn 0 is from 'tool'"),
        ({"conversations": [*TURNS, {"from": "system", "value": "x"}]}, "row 2: turn 2 is from 'system'"),
        ({"conversations": [{"from": "human", "value": "<video>\nWhat?"}]}, "row 2: turn 0 shows <video>"),
        ({"conversations": [{"from": "human", "value": None}]}, "row 2 has the turn"),
        ({"conversations": None}, "row 2 has no list 'conversations'"),
        ({"system": 3}, "row 2 has system 3"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_with_its_row(tmp_path, change, message):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([ROW, {**ROW, **change}]))
    with pytest.raises(DataError, match=rf"rows\.json {message}"):
        LlavaJson(str(path))


def test_empty_keys_of_other_media_and_words_about_them_are_no_media():
    row = {
        **ROW,
        "video": None,
        "audio": "",
        "images": [],
        "conversations": [{"from": "human", "value": "a <video> b"}],
    }
    assert checked(row, "r")["image"] == ["a.png"]


def test_several_images_and_a_system_turn_come_through(tmp_path):
    for i in range(2):
        Image.new("RGB", (4, 4), (i, i, i)).save(tmp_path / f"{i}.png")
    turns = [{"from": "human", "value": "<image><image>\nWhich?"}, TURNS[1]]
    row = {"images": ["0.png", {"path": "1.png"}], "system": "Be brief.", "conversations": turns}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    loaded = LlavaJson(str(tmp_path / "rows.json"))[0]
    assert [image.getpixel((0, 0))[0] for image in loaded["image"]] == [0, 1]
    assert loaded["conversations"][0] == {"from": "system", "value": "Be brief."}


def test_a_path_is_never_looked_up_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.load_dataset", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no file 'owner/rows'(?s:.*)hub:owner/rows"):
        LlavaJson("owner/rows")


def test_image_paths_do_not_leave_their_folder(tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "rows.json").write_text(json.dumps([{**ROW, "image": "../a.png"}]))
    with pytest.raises(DataError, match=r"rows\.json row 1: image '\.\./a\.png' leads out of"):
        LlavaJson(str(tmp_path / "rows.json"), image_folder=str(tmp_path / "in"))[0]
    allowed = LlavaJson(str(tmp_path / "rows.json"), image_folder=str(tmp_path / "in"), allow_outside=True)
    assert allowed[0]["image"][0].size == (4, 4)
