"""Odd rows through every loader: refused with file, row and column, or with the image that is missing."""

import json

import pytest
from PIL import Image

from fusionscope.data.rows import rows_of
from fusionscope.errors import DataError
from fusionscope.tasks import custom, pmc_vqa, pope, reefknot, vqa_rad

_PMC = {f"Choice {letter}": letter.lower() for letter in "ABCD"}
LOADERS = {
    "custom": (custom.load, "image", {"question": "Q?", "options": ["up", "down"], "answer": "up"}),
    "pope": (pope.load, "image", {"text": "Q?", "label": "yes"}),
    "reefknot": (reefknot.load, "image_id", {"query_prompt": "Q?", "label": "yes"}),
    "pmc_vqa": (pmc_vqa.load, "Figure_path", {"Question": "Q?", "Answer": "a", **_PMC}),
    "vqa_rad": (
        vqa_rad.load,
        "image_name",
        {"question": "Q?", "answer": "Yes", "answer_type": "CLOSED", "phrase_type": "test", "image_organ": "HEAD"},
    ),
}


@pytest.mark.parametrize("name", LOADERS)
def test_odd_images_of_a_row_are_refused(tmp_path, rows, name):
    load, column, good = LOADERS[name]
    (tmp_path / "in").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for case, (change, _) in rows.items():
        row = {**good, **({column: change["image"]} if change else {})}
        (tmp_path / "x.json").write_text(json.dumps([row]))
        with pytest.raises(DataError, match=rf"(x\.json row 1.*'{column}'|image .* (is missing|cannot be read))"):
            pytest.fail(f"{case}: {load(path=str(tmp_path / 'x.json'), image_folder=str(tmp_path / 'in')).images[0]}")


@pytest.mark.parametrize("value", [3, None, [], {}, True, "text", [["from", "value"]], [{"from": "human"}]])
def test_odd_conversations_are_refused(tmp_path, value):
    (tmp_path / "x.jsonl").write_text(json.dumps({"id": 1, "conversations": value}))
    if value == []:
        assert next(rows_of(str(tmp_path / "x.jsonl")))["conversations"] == []
        return
    with pytest.raises(DataError, match=r"x\.jsonl row 1"):
        list(rows_of(str(tmp_path / "x.jsonl")))
