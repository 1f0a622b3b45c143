"""POPE from its official files, its hub table and packed."""

import base64
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fusionscope.errors import ConfigError, DataError, UnknownNameError
from fusionscope.tasks import pope

REAL = Path(__file__).parents[2].parent / "shared" / "data"
real = pytest.mark.skipif(
    not REAL.is_dir(), reason="the development data (shared/data beside the checkout) is not here"
)


POPE = [
    {"question_id": 1, "image": "a.jpg", "text": "Is there a dog in the image?", "label": "yes"},
    {"question_id": 2, "image": "a.jpg", "text": "Is there a cat in the  image? ", "label": " No"},
    {"question_id": 3, "image": "b.jpg", "text": "Is there a dog in the image?", "label": "no"},
    {"question_id": 4, "image": "gone.jpg", "text": "Is there a dog in the image?", "label": "no"},
]
COCO = [f"COCO_val2014_{i:012d}.jpg" for i in range(2)]
HUB_POPE = [
    {"question_id": i, "image": COCO[i % 2], "text": f"Is there a {thing} in the image?", "label": label}
    for i, (thing, label) in enumerate([("dog", "yes"), ("cat", "no"), ("bus", "no")])
]


def test_pope_is_crossable_and_knows_what_was_asked(tmp_path, lines, paint):
    for name in ("a.jpg", "b.jpg"):
        paint(tmp_path, name)
    with pytest.warns(UserWarning, match=r"1 images \(of 1 allowed\) are left out.*'gone\.jpg' is missing"):
        task = pope.load(path=lines(tmp_path / "p.json", POPE), image_folder=str(tmp_path), max_bad_images=1)
    assert (task.name, task.crossable, task.answers) == ("pope/random", True, ("yes", "no"))
    assert list(task.image_ids) == ["a.jpg", "b.jpg"]
    assert [q.text.split("\n")[0] for q in task.questions] == [
        "Is there a dog in the image?",
        "Is there a cat in the image?",
    ]
    assert task.truth.tolist() == [[0, 1], [1, -1]]
    assert set(task.pair_weights) == {"uniform"}, "three rows tell no law over the grid"
    assert task.default_design == "rows"
    assert task.row_laws["benchmark"].images_total == 3
    assert task.row_laws["population"].strata.tolist() == task.pair_answers.tolist()
    assert task.dropped == {"image missing": 1}
    assert task.images[0].size == (3, 2)


def test_pope_as_a_list_and_as_the_hubs_columns(tmp_path, paint):
    paint(tmp_path, "a.jpg")
    (tmp_path / "list.json").write_text("\ufeff" + json.dumps(POPE[:2]))
    assert len(pope.load(path=str(tmp_path / "list.json"), image_folder=str(tmp_path)).pairs) == 2
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (9, 9, 9)).save(buffer, "PNG")
    held = {"bytes": buffer.getvalue(), "path": None}

    rows = [
        {"question": "Is there a dog?", "answer": "Yes", "image": held, "image_source": "x", "category": kind}
        for kind in ("random", "popular", "popular")
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "hub.parquet")
    task = pope.load("popular", path=str(tmp_path / "hub.parquet"))
    assert task.name == "pope/popular"
    assert task.dropped == {"asked twice": 1}
    assert task.images[0].getpixel((0, 0)) == (9, 9, 9)


def test_a_wrong_file_fails_with_row_and_column(tmp_path, lines, paint):
    paint(tmp_path, "a.jpg")
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
        pope.load(path=lines(tmp_path / "p.json", POPE[3:]), image_folder=folder, max_bad_images=1)
    with pytest.raises(DataError, match=r"2 images are missing or cannot be read: image 'b\.jpg'(?s:.*)allows 0"):
        pope.load(path=lines(tmp_path / "p.json", POPE), image_folder=folder)
    with pytest.raises(UnknownNameError, match="random, popular, adversarial"):
        pope.load("easy", path=folder)


def test_contradictions_are_left_out_and_counted(tmp_path, lines, paint):
    for name in ("a.jpg", "b.jpg"):
        paint(tmp_path, name)
    rows = [*POPE[:3], {**POPE[0], "label": "no"}, POPE[2]]
    task = pope.load(path=lines(tmp_path / "p.json", rows), image_folder=str(tmp_path))
    assert task.dropped == {"same image and question, another answer": 2, "asked twice": 1}
    assert len(task.pairs) == 2


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


def test_pope_of_other_images_packed_and_by_folder(tmp_path, coco, lines):
    folder = tmp_path / "aokvqa"
    folder.mkdir()
    (folder / "aokvqa_pope_seem_popular.json").write_text(json.dumps(HUB_POPE, indent=1))
    task = pope.load("popular", path=str(folder), image_folder=str(coco))
    assert (task.name, len(task.pairs)) == ("pope/popular", 3)
    with pytest.raises(ConfigError, match=r"is POPE's popular file(?s:.*)load 'pope/popular'"):
        pope.load("random", path=str(folder / "aokvqa_pope_seem_popular.json"), image_folder=str(coco))
    packed = tmp_path / "p.jsonl.gz"
    packed.write_bytes(gzip.compress(Path(lines(tmp_path / "p.jsonl", HUB_POPE)).read_bytes()))
    assert len(pope.load(path=str(packed), image_folder=str(coco)).pairs) == 3
    packed.write_bytes(packed.read_bytes()[:40])
    with pytest.raises(DataError, match="cannot be unpacked"):
        pope.load(path=str(packed), image_folder=str(coco))
    for one in ("coco", "gqa"):
        lines(folder / f"{one}_pope_random.json", HUB_POPE)
    with pytest.raises(ConfigError, match=r"holds coco_pope_random.json, gqa_pope_random.json"):
        pope.load(path=str(folder), image_folder=str(coco))


def test_popes_hub_table_in_shards_holds_each_image_once(tmp_path, table, parquet, png):
    rows = [
        {
            "id": str(i),
            "question_id": str(i),
            "question": row["text"],
            "answer": row["label"],
            "image_source": row["image"][:-4],
            "image": {"bytes": png(i % 2), "path": None},
            "category": kind,
        }
        for kind in ("random", "popular")
        for i, row in enumerate(HUB_POPE)
    ]
    for i in range(2):
        parquet(tmp_path / "data" / f"test-0000{i}-of-00002.parquet", rows[3 * i : 3 * i + 3])
    task = pope.load("popular", path=str(tmp_path))
    assert task.image_ids == [name[:-4] for name in COCO]
    assert pope.load("popular", path=str(tmp_path / "data" / "test-*.parquet")).pairs.tolist() == task.pairs.tolist()
    with pytest.raises(DataError, match=r"no row of category 'adversarial'(?s:.*)popular, random"):
        pope.load("adversarial", path=str(tmp_path))
    with pytest.raises(ConfigError, match="no files of the split 'train'"):
        pope.load(path=str(tmp_path), split="train")
    nameless = [
        {
            "index": i,
            "question": row["text"],
            "answer": "Yes",
            "category": "random",
            "image": base64.b64encode(png(i % 2)).decode(),
        }
        for i, row in enumerate(HUB_POPE)
    ]
    task = pope.load(path=table(tmp_path / "POPE.tsv", nameless, "\t"))
    assert (len(task.images), task.pairs[:, 0].tolist()) == (2, [0, 1, 0])


def test_a_row_of_several_categories_belongs_to_each(tmp_path, table, base64_png):
    """VLMEvalKit's POPE.tsv joins them in one cell; its own rating splits it at the comma."""
    kinds = ["random,popular,adversarial", "random", "adversarial, popular", "popular"]
    rows = [
        {"index": i, "question": f"Is there a {i}?", "answer": "Yes", "category": kind, "image": base64_png((i, 0, 0))}
        for i, kind in enumerate(kinds)
    ]
    path = table(tmp_path / "POPE.tsv", rows, "\t")
    counts = {kind: len(pope.load(kind, path=path).pairs) for kind in pope.SPLITS}
    assert counts == {"random": 2, "popular": 3, "adversarial": 2}


def test_an_ending_that_is_there_is_not_added_again(tmp_path, coco, lines):
    ending = "Answer the question using a single word or phrase."
    rows = [{**HUB_POPE[0], "text": f"{HUB_POPE[0]['text']}\n{ending}"}, HUB_POPE[1]]
    task = pope.load(path=lines(tmp_path / "p.json", rows), image_folder=str(coco))
    assert [question.text.count(ending) for question in task.questions] == [1, 1]


@pytest.mark.parametrize("candidates", [(True, False), ("Yes",), "Yes", ("Yes", 0)])
def test_candidates_are_texts(tmp_path, coco, lines, candidates):
    with pytest.raises(ConfigError, match=r"candidates=(?s:.*)YAML takes an unquoted Yes for true"):
        pope.load(path=lines(tmp_path / "p.json", HUB_POPE), image_folder=str(coco), candidates=candidates)
    with pytest.raises(ConfigError, match=r"ending=None"):
        pope.load(path=str(tmp_path / "p.json"), image_folder=str(coco), ending=None)
