"""Held-out tasks from their official formats: small files written here, and the real ones where they lie beside us."""

import base64
import csv
import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from fusionscope.errors import ConfigError, DataError, UnknownNameError
from fusionscope.tasks import DrawnImage, custom, mmbench, pmc_vqa, pope, reefknot, vqa_rad
from fusionscope.tasks.assemble import LETTERS, Item, natural_task
from fusionscope.tasks.task import Question

REAL = Path(__file__).parents[2].parent / "shared" / "data"
real = pytest.mark.skipif(
    not REAL.is_dir(), reason="the development data (shared/data beside the checkout) is not here"
)


def picture(folder: Path, name: str, colour=(1, 2, 3)) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2), colour).save(folder / name)


def lines(path: Path, rows) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return str(path)


def table(path: Path, rows, delimiter=",") -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def encoded(colour) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


POPE = [
    {"question_id": 1, "image": "a.jpg", "text": "Is there a dog in the image?", "label": "yes"},
    {"question_id": 2, "image": "a.jpg", "text": "Is there a cat in the  image? ", "label": " No"},
    {"question_id": 3, "image": "b.jpg", "text": "Is there a dog in the image?", "label": "no"},
    {"question_id": 4, "image": "gone.jpg", "text": "Is there a dog in the image?", "label": "no"},
]


def test_pope_is_crossable_and_knows_what_was_asked(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path, name)
    task = pope.load(path=lines(tmp_path / "p.json", POPE), image_folder=str(tmp_path))
    assert (task.name, task.crossable, task.answers) == ("pope/random", True, ("yes", "no"))
    assert list(task.image_ids) == ["a.jpg", "b.jpg"]
    assert [q.text.split("\n")[0] for q in task.questions] == [
        "Is there a dog in the image?",
        "Is there a cat in the image?",
    ]
    assert task.truth.tolist() == [[0, 1], [1, -1]]
    assert task.pair_weights["natural"].tolist() == [[pytest.approx(1 / 3)] * 2, [pytest.approx(1 / 3), 0]]
    assert task.dropped == {"image missing": 1}
    assert task.images[0].size == (3, 2)


def test_pope_as_a_list_and_as_the_hubs_columns(tmp_path):
    picture(tmp_path, "a.jpg")
    (tmp_path / "list.json").write_text("\ufeff" + json.dumps(POPE[:2]))
    assert len(pope.load(path=str(tmp_path / "list.json"), image_folder=str(tmp_path)).pairs) == 2
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (9, 9, 9)).save(buffer, "PNG")
    held = {"bytes": buffer.getvalue(), "path": None}
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"question": "Is there a dog?", "answer": "Yes", "image": held, "image_source": "x", "category": kind}
        for kind in ("random", "popular", "popular")
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "hub.parquet")
    task = pope.load("popular", path=str(tmp_path / "hub.parquet"))
    assert task.name == "pope/popular"
    assert task.dropped == {"asked twice": 1}
    assert task.images[0].getpixel((0, 0)) == (9, 9, 9)


def test_a_wrong_file_fails_with_row_and_column(tmp_path):
    picture(tmp_path, "a.jpg")
    folder = str(tmp_path)
    bad = [*POPE[:1], {**POPE[1], "label": "perhaps"}]
    with pytest.raises(DataError, match=r"p\.json row 2 column 'label': 'perhaps'(?s:.*)one of yes, no"):
        pope.load(path=lines(tmp_path / "p.json", bad), image_folder=folder)
    with pytest.raises(DataError, match=r"row 2 column 'text': '\(no such column\)'"):
        pope.load(path=lines(tmp_path / "p.json", [POPE[0], {"image": "a.jpg", "label": "no"}]), image_folder=folder)
    (tmp_path / "p.json").write_text(json.dumps(POPE[0]) + "\n{broken\n")
    with pytest.raises(DataError, match="row 2 is no JSON"):
        pope.load(path=str(tmp_path / "p.json"), image_folder=folder)
    (tmp_path / "p.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="row 1 is '1'"):
        pope.load(path=str(tmp_path / "p.json"), image_folder=folder)
    (tmp_path / "p.json").write_text("")
    with pytest.raises(DataError, match="holds no rows"):
        pope.load(path=str(tmp_path / "p.json"), image_folder=folder)
    with pytest.raises(ConfigError, match="no file"):
        pope.load(path=str(tmp_path / "absent.json"), image_folder=folder)
    with pytest.raises(ConfigError, match="there is no such folder"):
        pope.load(path=lines(tmp_path / "p.json", POPE), image_folder=str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"nothing left(?s:.*)'image missing': 1"):
        pope.load(path=lines(tmp_path / "p.json", POPE[3:]), image_folder=folder)
    with pytest.raises(UnknownNameError, match="random, popular, adversarial"):
        pope.load("easy", path=folder)


def test_contradictions_are_left_out_and_counted(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path, name)
    rows = [*POPE[:3], {**POPE[0], "label": "no"}, POPE[2]]
    task = pope.load(path=lines(tmp_path / "p.json", rows), image_folder=str(tmp_path))
    assert task.dropped == {"same image and question, another answer": 2, "asked twice": 1}
    assert len(task.pairs) == 2


REEFKNOT = {
    "image_id": "7",
    "query_prompt": "What is the relation with knife and apple? A. behind B. onto C. on D. into, please choose.",
    "label": "D",
    "type": "Multichoice",
    "relation_type": "perception",
}


def test_reefknot_finds_pictures_below_and_keeps_options_when_blanked(tmp_path):
    picture(tmp_path / "VG_100K_2", "7.jpg")
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


PMC = {"Figure_path": "f.jpg", "Question": "Which organ? ", "Answer": " A:Uterus "} | {
    f"Choice {letter}": f" {letter}:{text} "
    for letter, text in zip("ABCD", ("Uterus", "Lung", "Liver", "Aorta"), strict=True)
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Answer_label": "A"},
        {"Answer": "uterus", "index": 3, "Caption": "c", "split": "test"},
        {"Answer": "A", "Choice A": "Uterus", "Choice B": "Lung"},
    ],
)
def test_pmc_vqa_in_both_versions(tmp_path, changes):
    picture(tmp_path, "f.jpg")
    path = table(tmp_path / "t.csv", [PMC | changes, {**PMC, **changes, "Choice D": " "}])
    task = pmc_vqa.load(path=path, image_folder=str(tmp_path))
    assert task.pair_answers.tolist() == [0]
    assert task.questions[0].text == (
        "Which organ?\nA. Uterus\nB. Lung\nC. Liver\nD. Aorta\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert task.questions[0].blanked is not None
    assert "Which" not in task.questions[0].blanked
    assert task.dropped == {"an option is empty": 1}
    assert not task.crossable


def test_pmc_vqa_says_what_is_wrong(tmp_path):
    picture(tmp_path, "f.jpg")
    with pytest.raises(DataError, match=r"t\.csv row 3 column 'Answer': 'Spleen'"):
        pmc_vqa.load(path=table(tmp_path / "t.csv", [PMC, PMC | {"Answer": "Spleen"}]), image_folder=str(tmp_path))
    rest = {key: value for key, value in PMC.items() if key not in ("Choice C", "Figure_path")}
    with pytest.raises(DataError, match="has no column 'Figure_path', 'Choice C'"):
        pmc_vqa.load(path=table(tmp_path / "t.csv", [rest]), image_folder=str(tmp_path))


MM = {"index": "1", "question": "Which?", "hint": "nan", "A": "red", "B": "blue", "C": "green", "D": "2", "answer": "B"}
MM |= {"category": "c", "l2-category": "l", "split": "dev", "image": encoded((255, 0, 0))}


def test_mmbench_with_hints_references_and_fewer_options(tmp_path):
    rows = [
        MM,
        MM | {"index": "2", "hint": "Look.", "image": "1", "answer": "d"},
        MM | {"index": "3", "C": "", "D": "nan"},
        MM | {"index": "4", "image": "2", "question": "What?"},
    ]
    path = table(tmp_path / "t.tsv", rows, "\t")
    task = mmbench.load(path=path)
    assert task.pair_answers.tolist() == [1, 3, 1]
    assert task.image_ids == ["1"]
    assert task.images[0].getpixel((0, 0)) == (255, 0, 0)
    assert task.questions[1].text.startswith("Look.\nWhich?\nA. red\nB. blue\nC. green\nD. 2\nAnswer")
    assert task.dropped == {"2 options": 1}
    assert mmbench.load(path=path, options=2).answers == ("A", "B")


def test_mmbench_circular_rotates_the_right_answer_along(tmp_path):
    task = mmbench.load("circular", path=table(tmp_path / "t.tsv", [MM], "\t"))
    assert task.pair_answers.tolist() == [1, 0, 3, 2]
    for question, answer in zip(task.questions, task.pair_answers.tolist(), strict=True):
        assert f"{'ABCD'[answer]}. blue" in question.text


def test_mmbench_refuses_what_it_cannot_mean(tmp_path):
    for change, message in [
        ({"index": "1"}, "row 3 column 'index'"),
        ({"index": "2", "B": "", "C": "x"}, "row 3 column 'B'"),
        ({"index": "2", "C": "", "D": "", "answer": "C"}, r"row 3 column 'answer': 'C'(?s:.*)2 options"),
        ({"index": "2", "answer": ""}, "row 3 column 'answer'"),
    ]:
        with pytest.raises(DataError, match=message):
            mmbench.load(path=table(tmp_path / "t.tsv", [MM, MM | change], "\t"))
    loop = [MM | {"image": "2"}, MM | {"index": "2", "image": "1"}]
    with pytest.raises(DataError, match="go round in a circle"):
        mmbench.load(path=table(tmp_path / "t.tsv", loop, "\t"))


def test_custom_answers_themselves_where_options_are_shared_and_letters_else(tmp_path):
    picture(tmp_path, "a.png")
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


def test_a_task_that_is_not_crossed_holds_no_grid_of_all_pictures_and_questions():
    """PMC-VQA's 50,000 rows would take 35 GB; this one, 960 GB."""

    def draw():
        return Image.new("RGB", (1, 1))

    items = [
        Item(
            image=DrawnImage(draw=draw, name=str(i)),
            question=Question(text=str(i), candidates=LETTERS),
            answer=0,
        )
        for i in range(200_000)
    ]
    task = natural_task("large", items, LETTERS, pmc_vqa.SOURCE, crossable=False, dropped={})
    assert len(task.pairs) == 200_000
    assert task.pair_weights == {}


def test_a_draw_repeats_with_its_seed(tmp_path):
    picture(tmp_path, "a.png")
    rows = [{"image": "a.png", "question": f"{i}?", "options": ["yes", "no"], "answer": i % 2} for i in range(20)]
    path = lines(tmp_path / "c.jsonl", rows)
    one, two, other = (custom.load(path=path, n=5, seed=seed) for seed in (1, 1, 2))
    assert [q.text for q in one.questions] == [q.text for q in two.questions] != [q.text for q in other.questions]
    assert one.dropped == {"items not drawn": 15}


@real
@pytest.mark.data
def test_real_vqa_rad():
    path = str(REAL / "vqa_rad" / "VQA_RAD Dataset Public.json")
    rows = vqa_rad.rows_of(path)
    assert len(rows) == 2248
    assert sum(vqa_rad.is_closed(row) for row in rows) == 1299
    task = vqa_rad.load(path=path, image_folder=str(REAL / "vqa_rad" / "images"))
    assert task.dropped["open question"] == 949
    assert task.dropped["closed, but neither yes nor no"] == 106
    left_out = sum(task.dropped.values()) - 949 - 106
    assert len(task.pairs) + left_out == 587 + 606
    assert not task.crossable
    assert task.images[0].mode == "RGB"
    parts = [
        len(vqa_rad.load(path=path, image_folder=str(REAL / "vqa_rad" / "images"), part=part).pairs)
        for part in ("train", "test")
    ]
    assert sum(parts) >= len(task.pairs)
    chest = vqa_rad.load("chest", path=path, image_folder=str(REAL / "vqa_rad" / "images"))
    assert 0 < len(chest.pairs) < len(task.pairs)


@real
@pytest.mark.data
def test_real_pope(tmp_path):
    path = str(REAL / "pope" / "coco_pope_random.json")
    rows = pope.rows_of(path)
    assert len(rows) == 3000
    for row in rows:
        (tmp_path / row.text("image")).touch()
    task = pope.load(path=str(REAL / "pope"), image_folder=str(tmp_path))
    assert len(task.images) == 500
    assert len(task.pairs) + sum(task.dropped.values()) == 3000
    assert torch.equal(task.truth[task.pairs[:, 0], task.pairs[:, 1]], task.pair_answers)
    with pytest.raises(DataError, match="cannot be read"):
        task.images[0]


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
