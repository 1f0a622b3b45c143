"""Published questions and pictures through the whole probe of two families, with their chat templates."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusionscope.lvlm import LVLM, tiny
from fusionscope.probe import probe
from fusionscope.tasks import load_task

DATA = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the development data is not beside the checkout ({DATA.name})"),
]


@pytest.fixture(scope="module", params=["llava", "qwen2_5_vl"])
def lvlm(request):
    return LVLM.wrap(*tiny.build(request.param))


def paint(folder, names):
    """Pictures for questions that come without theirs."""
    for i, name in enumerate(dict.fromkeys(names)):
        noise = np.random.default_rng(i).integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)


def check(results, design, n):
    assert [r.design for r in results] == [design]
    assert results[0].n == n
    assert 0 <= results[0].accuracy <= 1
    assert 0 < results[0].diagnostics["option_mass"] < 1


def test_pope_is_crossed(lvlm, tmp_path):
    file = DATA / "pope" / "coco_pope_random.json"
    rows = [json.loads(line) for line in file.read_text().splitlines()[:12]]
    paint(tmp_path, (row["image"] for row in rows))
    task = load_task("pope", path=str(file), image_folder=str(tmp_path))
    check(probe(lvlm, task, layers="last"), "crossed", len(task.images) * len(task.questions))


def test_reefknot_is_learned(lvlm, tmp_path):
    rows = [json.loads(line) for line in (DATA / "reefknot" / "YESNO.jsonl").read_text().splitlines()[:20]]
    paint(tmp_path, (f"{row['image_id']}.jpg" for row in rows))
    task = load_task("reefknot/yesno", path=str(DATA / "reefknot"), image_folder=str(tmp_path))
    check(probe(lvlm, task, layers="last"), "learned", len(task.pairs))


def test_reefknot_letters_are_masked_as_in_the_paper(lvlm, tmp_path):
    file = DATA / "reefknot" / "Multichoice.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()[:6]]
    paint(tmp_path, (f"{row['image_id']}.jpg" for row in rows))
    task = load_task("reefknot/multichoice", path=str(DATA / "reefknot"), image_folder=str(tmp_path))
    results = probe(lvlm, task, design="masked", estimator="faithful", layers="last")
    check(results, "masked", len(task.pairs))


def test_vqa_rad_reads_its_real_pictures(lvlm):
    folder = DATA / "vqa_rad"
    task = load_task(
        "vqa_rad", path=str(folder / "VQA_RAD Dataset Public.json"), image_folder=str(folder / "images"), n=12
    )
    check(probe(lvlm, task, layers="last"), "learned", 12)
