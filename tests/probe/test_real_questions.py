"""Published questions and pictures through the whole probe of two families, with their chat templates."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusionscope.lvlm import LVLM, miniature
from fusionscope.probe import ProbeSpec, probe
from fusionscope.tasks import load_task

DATA = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the development data is not beside the checkout ({DATA.name})"),
]


@pytest.fixture(scope="module", params=["llava", "qwen2_5_vl"])
def lvlm(request):
    return LVLM.wrap(*miniature(request.param))


def first_lines(folder, file, n):
    """The first rows of a file, as a file of its own and as rows."""
    some = file.read_text().splitlines()[:n]
    (folder / file.name).write_text("\n".join(some))
    return str(folder / file.name), [json.loads(line) for line in some]


def paint(folder, names):
    """Images for questions that come without theirs."""
    for i, name in enumerate(dict.fromkeys(names)):
        noise = np.random.default_rng(i).integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)


def check(results, design, n):
    assert {r.design for r in results} == {design}
    assert results[0].n == n
    assert 0 <= results[0].accuracy <= 1
    assert 0 < results[0].diagnostics["option_mass"] < 1


def test_pope_is_crossed(lvlm, tmp_path):
    path, rows = first_lines(tmp_path, DATA / "pope" / "coco_pope_random.json", 12)
    paint(tmp_path, (row["image"] for row in rows))
    task = load_task("pope", path=path, image_folder=str(tmp_path))
    check(
        probe(lvlm, task, ProbeSpec(layers="last", design="crossed")), "crossed", len(task.images) * len(task.questions)
    )


def test_reefknot_runs_its_rows(lvlm, tmp_path):
    path, rows = first_lines(tmp_path, DATA / "reefknot" / "YESNO.jsonl", 20)
    paint(tmp_path, (f"{row['image_id']}.jpg" for row in rows))
    task = load_task("reefknot/yesno", path=path, image_folder=str(tmp_path))
    check(probe(lvlm, task, ProbeSpec(layers="last")), "rows", len(task.pairs))


def test_reefknot_letters_are_masked_as_in_the_paper(lvlm, tmp_path):
    path, rows = first_lines(tmp_path, DATA / "reefknot" / "Multichoice.jsonl", 6)
    paint(tmp_path, (f"{row['image_id']}.jpg" for row in rows))
    task = load_task("reefknot/multichoice", path=path, image_folder=str(tmp_path))
    results = probe(lvlm, task, ProbeSpec(design="masked", estimator="faithful", layers="last"))
    check(results, "masked", len(task.pairs))


def test_vqa_rad_reads_its_real_pictures(lvlm):
    folder = DATA / "vqa_rad"
    task = load_task(
        "vqa_rad", path=str(folder / "VQA_RAD Dataset Public.json"), image_folder=str(folder / "images"), n=12
    )
    check(probe(lvlm, task, ProbeSpec(layers="last")), "rows", len(task.pairs))
