"""The forms in which the held-out tasks are handed round: hub tables, VLMEvalKit's TSV, archives, dirty files."""

import base64
import csv
import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fusionscope.errors import ConfigError, DataError
from fusionscope.tasks import custom, mmbench, pmc_vqa, pope, vqa_rad

COCO = [f"COCO_val2014_{i:012d}.jpg" for i in range(2)]
POPE = [
    {"question_id": i, "image": COCO[i % 2], "text": f"Is there a {thing} in the image?", "label": label}
    for i, (thing, label) in enumerate([("dog", "yes"), ("cat", "no"), ("bus", "no")])
]


def encoded(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


def lines(path: Path, rows: list[Any]) -> str:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return str(path)


def table(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def parquet(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    folder = tmp_path / "coco"
    (folder / "val2014").mkdir(parents=True)
    for i, name in enumerate(COCO):
        (folder / "val2014" / name).write_bytes(encoded(50 * i))
    return folder


def test_pope_of_other_pictures_packed_and_by_folder(tmp_path: Path, coco: Path) -> None:
    folder = tmp_path / "aokvqa"
    folder.mkdir()
    (folder / "aokvqa_pope_seem_popular.json").write_text(json.dumps(POPE, indent=1))
    task = pope.load("popular", path=str(folder), image_folder=str(coco))
    assert (task.name, len(task.pairs)) == ("pope/popular", 3)
    with pytest.raises(ConfigError, match=r"is POPE's popular file(?s:.*)load 'pope/popular'"):
        pope.load("random", path=str(folder / "aokvqa_pope_seem_popular.json"), image_folder=str(coco))
    packed = tmp_path / "p.jsonl.gz"
    packed.write_bytes(gzip.compress(Path(lines(tmp_path / "p.jsonl", POPE)).read_bytes()))
    assert len(pope.load(path=str(packed), image_folder=str(coco)).pairs) == 3
    packed.write_bytes(packed.read_bytes()[:40])
    with pytest.raises(DataError, match="cannot be unpacked"):
        pope.load(path=str(packed), image_folder=str(coco))
    for one in ("coco", "gqa"):
        lines(folder / f"{one}_pope_random.json", POPE)
    with pytest.raises(ConfigError, match=r"holds coco_pope_random.json, gqa_pope_random.json"):
        pope.load(path=str(folder), image_folder=str(coco))


def test_popes_hub_table_in_shards_holds_each_picture_once(tmp_path: Path) -> None:
    rows = [
        {
            "id": str(i), "question_id": str(i), "question": row["text"], "answer": row["label"],
            "image_source": row["image"][:-4], "image": {"bytes": encoded(i % 2), "path": None}, "category": kind,
        }
        for kind in ("random", "popular") for i, row in enumerate(POPE)
    ]  # fmt: skip
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
            "index": i, "question": row["text"], "answer": "Yes", "category": "random",
            "image": base64.b64encode(encoded(i % 2)).decode(),
        }
        for i, row in enumerate(POPE)
    ]  # fmt: skip
    task = pope.load(path=table(tmp_path / "POPE.tsv", nameless, "\t"))
    assert (len(task.images), task.pairs[:, 0].tolist()) == (2, [0, 1, 0])


def test_a_name_on_the_hub_may_carry_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, configuration: str | None, *, split: str) -> datasets.Dataset:
        asked.append((name, configuration, split))
        if configuration is None:
            raise ValueError("Config name is missing. Please pick one among: ['cc', 'cn', 'en']")
        row = {**MM, "image": {"bytes": encoded(7), "path": None}}
        return datasets.Dataset.from_list([row]).cast_column("image", datasets.Image())

    monkeypatch.setattr(datasets, "load_dataset", load)
    task = mmbench.load(path="lmms-lab/MMBench:en")
    assert task.images[0].getpixel((0, 0)) == (7, 7, 7)
    assert asked == [("lmms-lab/MMBench", "en", "dev")]
    with pytest.raises(ConfigError, match=r"Config name is missing(?s:.*)owner/name:configuration"):
        mmbench.load(path="lmms-lab/MMBench")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_pictures_stay_in_their_archive(tmp_path: Path, coco: Path, kind: str) -> None:
    path = tmp_path / f"val2014.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in (coco / "val2014").iterdir():
                archive.write(file, f"val2014/{file.name}")
    else:
        with tarfile.open(path, "w") as archive:
            archive.add(coco / "val2014", "./val2014")
    task = pope.load(path=lines(tmp_path / "p.json", POPE), image_folder=str(path))
    assert [picture.getpixel((0, 0))[0] for picture in (task.images[0], task.images[1])] == [0, 50]
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as archive:
        archive.add(coco / "val2014", "val2014")
    with pytest.raises(ConfigError, match=r"no plain \.tar file"):
        pope.load(path=str(tmp_path / "p.json"), image_folder=str(tmp_path / "packed.tar"))
    (tmp_path / "x.zip").write_bytes(b"PK?")
    with pytest.raises(DataError, match=r"x\.zip cannot be read"):
        pope.load(path=str(tmp_path / "p.json"), image_folder=str(tmp_path / "x.zip"))


MM = {
    "index": "1", "question": "What prints?\n  1", "hint": "nan", "A": "x:\n  y", "B": "None", "C": "c", "D": "d",
    "answer": "B", "category": "c", "split": "dev", "image": base64.b64encode(encoded(7)).decode(),
}  # fmt: skip


def test_mmbench_as_published_holds_its_rotations(tmp_path: Path) -> None:
    rotated = [
        MM | {"ABCD"[i]: MM["ABCD"[(i + r) % 4]] for i in range(4)}
        | {"index": str(1_000_000 * r + 1), "answer": "ABCD"[(1 - r) % 4], "image": "1"}
        for r in range(1, 4)
    ]  # fmt: skip
    path = table(tmp_path / "mmbench_dev_20230712.tsv", [MM, *rotated], "\t")
    task = mmbench.load(path=path)
    assert task.dropped == {"rotation of a question": 3}
    assert task.questions[0].text.startswith("What prints?\n  1\nA. x:\n  y\nB. None\nC. c")
    circular = mmbench.load("circular", path=path)
    assert [(q.text.split("\n")[2][:5], a) for q, a in zip(circular.questions, circular.pair_answers, strict=True)] == [
        ("A. x:", 1), ("A. No", 0), ("A. c", 3), ("A. d", 2),
    ]  # fmt: skip
    held = [{**row, "index": int(row["index"]), "image": {"bytes": encoded(7), "path": None}} for row in [MM, *rotated]]
    parquet(tmp_path / "en" / "dev-00000-of-00001.parquet", held)
    assert mmbench.load(path=str(tmp_path / "en")).questions == task.questions


def test_mmbench_without_answers_and_with_lost_references(tmp_path: Path) -> None:
    for row in ({key: value for key, value in MM.items() if key != "answer"}, MM | {"answer": "nan"}):
        with pytest.raises(DataError, match=r"test part of MMBench(?s:.*)dev part"):
            mmbench.load(path=table(tmp_path / "t.tsv", [row], "\t"))
    with pytest.raises(DataError, match=r"row 3 column 'image': '77'(?s:.*)no row has this index"):
        mmbench.load(path=table(tmp_path / "t.tsv", [MM, MM | {"index": "2", "image": "77"}], "\t"))
    with pytest.raises(ConfigError, match=r"row 2 column 'image' names the file 'a.png'(?s:.*)image_folder"):
        mmbench.load(path=table(tmp_path / "t.tsv", [MM | {"image": "a.png"}], "\t"))


PMC = {"Figure_path": "f.png", "Question": "Which?", "Answer": "A. fumigatus", "Answer_label": "B"}
PMC |= {
    f"Choice {letter}": f" {letter}:{text} "
    for letter, text in zip("ABCD", ("Uterus", "A. fumigatus", "None", "Aorta"), strict=True)
}


def test_pmc_vqa_keeps_names_that_look_like_letters_and_counts_few_wrong_answers(tmp_path: Path) -> None:
    (tmp_path / "f.png").write_bytes(encoded(1))
    shown = "Which?\nA. Uterus\nB. A. fumigatus\nC. None\nD. Aorta"
    unmarked = PMC | {f"Choice {letter}": PMC[f"Choice {letter}"].strip()[2:] for letter in "ABCD"}
    misspelt = {key.replace("Answer", "Anwser"): value for key, value in PMC.items()}
    for row in (PMC, unmarked, misspelt, PMC | {"Answer_label": ""}, PMC | {"Choice C": "'C:None'"}):
        task = pmc_vqa.load(path=table(tmp_path / "t.csv", [row]), image_folder=str(tmp_path))
        assert task.questions[0].text.startswith(shown)
        assert task.pair_answers.tolist() == [1]
    many = [PMC | {"Question": str(i)} for i in range(150)]
    many[9] |= {"Answer": "Spleen", "Answer_label": ""}
    task = pmc_vqa.load(path=table(tmp_path / "t.csv", many), image_folder=str(tmp_path))
    assert task.dropped == {"the answer is none of the options": 1}
    many[0] |= many[9]
    with pytest.raises(DataError, match=r"row 2 column 'Answer': 'Spleen'"):
        pmc_vqa.load(path=table(tmp_path / "t.csv", many), image_folder=str(tmp_path))


def test_vqa_rads_hub_table(tmp_path: Path) -> None:
    rows = [
        {"image": {"bytes": encoded(i % 2), "path": None}, "question": f"{i}?", "answer": answer}
        for i, answer in enumerate(("yes", "no", "left", "Yes"))
    ]
    parquet(tmp_path / "data" / "test-00000-of-00001-e5bc.parquet", rows)
    task = vqa_rad.load(path=str(tmp_path), part="test")
    assert (len(task.images), task.pair_answers.tolist()) == (2, [0, 1, 0])
    assert task.dropped == {"neither yes nor no": 1}
    with pytest.raises(ConfigError, match="a train and a test split"):
        vqa_rad.load(path=str(tmp_path))
    with pytest.raises(DataError, match="row 1 column 'image_organ'"):
        vqa_rad.load("head", path=str(tmp_path), part="test")


OWN = {"image": "a.png", "question": "Q?", "options": ["up", "down"], "answer": "down"}


def test_custom_options_and_answers_as_people_write_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(1))
    for change in (
        {"answer": "B"}, {"answer": 1}, {"options": {"A": "up", "B": "down"}}, {"options": '["up", "down"]'},
        {"options": ["some", "None"], "answer": "None"}, {"options": ["0", "1"], "answer": 1},
        {"image": str(tmp_path / "a.png")},
    ):  # fmt: skip
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


def test_lines_that_are_not_what_they_seem(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(1))
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


def test_pictures_look_as_one_sees_them(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[274] = 6
    Image.new("RGB", (2, 4)).save(tmp_path / "turned.jpg", exif=turned)
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.fromarray(np.full((4, 4), 65535, dtype=np.uint16)).save(tmp_path / "deep.png")
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    names = ("turned.jpg", "cmyk.jpg", "clear.png", "deep.png", "moving.gif")
    task = custom.load(path=lines(tmp_path / "c.jsonl", [OWN | {"image": name} for name in names]))
    assert task.images[0].size == (4, 2)
    assert [task.images[i].getpixel((0, 0)) for i in range(1, 5)] == [
        (255, 0, 0), (255, 255, 255), (255, 255, 255), (255, 0, 0),
    ]  # fmt: skip


def test_a_few_broken_pictures_are_left_out_where_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(1))
    (tmp_path / "broken.png").write_bytes(encoded(2)[:45])
    (tmp_path / "page.png").write_text("<html>")
    rows = [
        OWN | {"question": f"{i}?", "image": name} for i, name in enumerate(("a.png", "broken.png", "page.png") * 3)
    ]
    path = lines(tmp_path / "c.jsonl", rows)
    with pytest.raises(DataError, match=r"'broken.png' cannot be read(?s:.*)max_bad_images"):
        custom.load(path=path).images[1]
    with pytest.raises(DataError, match=r"more than 1 images(?s:.*)broken.png(?s:.*)page.png"):
        custom.load(path=path, max_bad_images=1)
    task = custom.load(path=path, max_bad_images=2)
    assert (task.image_ids, len(task.pairs), task.dropped) == (["a.png"], 3, {"image cannot be read": 6})
    drawn = custom.load(path=path, max_bad_images=2, n=2)
    assert len(drawn.pairs) == 2
    assert sum(drawn.dropped.values()) == 7
