"""VQA-RAD from its official file and its hub table."""

from pathlib import Path

import pytest

from fusionscope.errors import ConfigError, DataError
from fusionscope.tasks import vqa_rad

REAL = Path(__file__).parents[2].parent / "shared" / "data"
real = pytest.mark.skipif(
    not REAL.is_dir(), reason="the development data (shared/data beside the checkout) is not here"
)


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


def test_vqa_rads_hub_table(tmp_path, parquet, png):
    rows = [
        {"image": {"bytes": png(i % 2), "path": None}, "question": f"{i}?", "answer": answer}
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
