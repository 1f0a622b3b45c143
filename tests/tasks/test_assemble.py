"""Rows put together to tasks: draws, grids, and images that are left out."""

import pytest
from PIL import Image

from fusionscope.errors import DataError
from fusionscope.tasks import DrawnImage, Question, custom, pmc_vqa
from fusionscope.tasks.assemble import LETTERS, Item, natural_task

OWN = {"image": "a.png", "question": "Q?", "options": ["up", "down"], "answer": "down"}


def test_a_task_that_is_not_crossed_holds_no_grid_of_all_images_and_questions():
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


def test_a_draw_repeats_with_its_seed(tmp_path, lines, paint):
    for i in range(10):
        paint(tmp_path, f"{i}.png")
    rows = [
        {"image": f"{i // 2}.png", "question": f"{i}?", "options": ["yes", "no"], "answer": i % 2} for i in range(20)
    ]
    path = lines(tmp_path / "c.jsonl", rows)
    one, two, other = (custom.load(path=path, n=5, seed=seed) for seed in (1, 1, 2))
    assert one.image_ids == two.image_ids != other.image_ids
    assert len(one.pairs) == 10, "whole images: pairs drawn one by one would be a sample of no law of questions"
    assert one.dropped == {"images not drawn": 5}
    with pytest.warns(UserWarning, match="n=50, but it has 10 images; all are used"):
        assert len(custom.load(path=path, n=50).images) == 10
    benchmark = one.row_laws["benchmark"]
    assert (benchmark.images_total, benchmark.images_available.tolist()) == (10, [1] * 10)


def test_a_few_broken_images_are_left_out_where_it_is_allowed(tmp_path, lines, png):
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "broken.png").write_bytes(png(2)[:45])
    (tmp_path / "page.png").write_text("<html>")
    rows = [
        OWN | {"question": f"{i}?", "image": name} for i, name in enumerate(("a.png", "broken.png", "page.png") * 3)
    ]
    path = lines(tmp_path / "c.jsonl", rows)
    with pytest.raises(DataError, match=r"'broken.png' cannot be read(?s:.*)max_bad_images"):
        custom.load(path=path).images[1]
    with pytest.raises(DataError, match=r"more than 1 images(?s:.*)broken.png(?s:.*)page.png"):
        custom.load(path=path, max_bad_images=1)
    with pytest.warns(UserWarning, match=r"2 images \(of 2 allowed\) are left out, with all that is"):
        task = custom.load(path=path, max_bad_images=2)
    assert (task.image_ids, len(task.pairs), task.dropped) == (["a.png"], 3, {"image cannot be read": 2})
    with pytest.warns(UserWarning, match="are left out"):
        drawn = custom.load(path=path, max_bad_images=2, n=1)
    assert (drawn.image_ids, len(drawn.pairs)) == (["a.png"], 3)
