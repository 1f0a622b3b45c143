"""Reefknot from its official files."""

from pathlib import Path

import pytest

from fusionscope.errors import UnknownNameError
from fusionscope.tasks import reefknot

REAL = Path(__file__).parents[2].parent / "shared" / "data"
real = pytest.mark.skipif(
    not REAL.is_dir(), reason="the development data (shared/data beside the checkout) is not here"
)


REEFKNOT = {
    "image_id": "7",
    "query_prompt": "What is the relation with knife and apple? A. behind B. onto C. on D. into, please choose.",
    "label": "D",
    "type": "Multichoice",
    "relation_type": "perception",
}


def test_reefknot_finds_images_below_and_keeps_options_when_blanked(tmp_path, lines, paint):
    paint(tmp_path / "VG_100K_2", "7.jpg")
    rows = [REEFKNOT, {**REEFKNOT, "query_prompt": "What is it? A. one B. two, please choose."}]
    task = reefknot.load("multichoice", path=lines(tmp_path / "m.jsonl", rows), image_folder=str(tmp_path))
    assert not task.crossable
    assert task.pair_answers.tolist() == [3]
    assert task.questions[0].text == REEFKNOT["query_prompt"]
    assert task.questions[0].blanked == "A. behind B. onto C. on D. into, please choose."
    assert task.dropped == {"options not A to D": 1}
    yesno = {
        **REEFKNOT,
        "query_prompt": "Is the herb under pasta in this photo? Please answer yes or no.",
        "label": "No",
    }
    task = reefknot.load(path=lines(tmp_path / "y.jsonl", [yesno]), image_folder=str(tmp_path))
    assert (task.name, task.pair_answers.tolist()) == ("reefknot/yesno", [1])
    assert task.questions[0].blanked == "Please answer yes or no."
    with pytest.raises(UnknownNameError, match="free text"):
        reefknot.load("vqa", path=str(tmp_path), image_folder=str(tmp_path))


@real
@pytest.mark.data
def test_real_reefknot(tmp_path):
    counts = {}
    for name in ("YESNO.jsonl", "Multichoice.jsonl", "VQA.jsonl"):
        rows = reefknot.rows_of(str(REAL / "reefknot" / name))
        counts[name] = len(rows)
        for row in rows:
            (tmp_path / f"{row.text('image_id')}.jpg").touch()
    assert counts == {"YESNO.jsonl": 250, "Multichoice.jsonl": 240, "VQA.jsonl": 168}
    yesno, choice = (
        reefknot.load(kind, path=str(REAL / "reefknot"), image_folder=str(tmp_path)) for kind in ("", "multichoice")
    )
    assert len(yesno.pairs) + sum(yesno.dropped.values()) == 250
    assert len(choice.pairs) + sum(choice.dropped.values()) == 240
    assert all(q.blanked and "relation" not in q.blanked for q in choice.questions)


def test_a_fifth_option_is_no_part_of_the_fourth(tmp_path, lines, paint):
    paint(tmp_path, "7.jpg")
    five = "What is it? A. one B. two C. three D. four E. five, please choose."
    path = lines(tmp_path / "m.jsonl", [REEFKNOT, {**REEFKNOT, "query_prompt": five}])
    task = reefknot.load("multichoice", path=path, image_folder=str(tmp_path))
    assert (len(task.pairs), task.dropped) == (1, {"options not A to D": 1})
