from collections import Counter

import pytest
import torch

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.sandbox.tasks import VARIANTS, balanced, load
from fusionscope.sandbox.world import COLOURS, held_out, render, scenes
from fusionscope.tasks import load_task


@pytest.mark.parametrize("n", [48, 288, 576])
def test_subsets_are_balanced_over_cells_and_backgrounds(n):
    chosen = balanced(n, seed=5)
    assert len({scene.index for scene in chosen}) == n
    assert all(map(held_out, chosen))
    for name in ("shapes", "colours"):
        facts = Counter((i, getattr(s, name)[i]) for s in chosen for i in range(4))
        assert set(facts.values()) == {n // 4}
    assert set(Counter(s.background for s in chosen).values()) == {n // 4}


def test_by_default_all_held_out_scenes_are_shown():
    assert len(load("synergy").images) == 576


def test_subsets_of_one_seed_are_nested_and_another_seed_gives_another():
    assert balanced(288, 1)[:144] == balanced(144, 1)
    assert balanced(144, 1) != balanced(144, 2)


@pytest.mark.parametrize("n", [0, 100, 624, -48])
def test_other_numbers_of_pictures_are_refused(n):
    with pytest.raises(InputError, match=r"multiple of 48"):
        load("synergy", images=n)


def test_an_unknown_variant_names_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"unknown sandbox task 'fusion'[\s\S]*sandbox/synergy"):
        load("fusion")


@pytest.mark.parametrize("variant", VARIANTS)
def test_answers_are_equally_frequent(variant):
    task = load(variant, images=144)
    assert set(Counter(task.pair_answers.tolist()).values()) == {len(task.pairs) // 4}
    assert task.questions_enumerated
    assert not task.images_enumerated


def test_the_truth_is_what_the_picture_shows():
    task = load_task("sandbox/synergy", images=48)
    for a, name in enumerate(task.image_ids):
        scene = scenes()[int(name[6:10])]
        assert render(scene).tobytes() == task.images[a].tobytes()
        for b, shape in enumerate(("circle", "square", "triangle", "cross")):
            assert f"the {shape} ?" in task.questions[b].text
            assert f"{COLOURS[task.truth[a, b]]}-{shape}" in scene.words


def test_natural_weights_hold_where_hint_and_picture_agree():
    task = load("redundant", images=48)
    natural = task.pair_weights["natural"]
    assert torch.equal(natural > 0, task.truth >= 0)
    assert torch.allclose(natural.sum(1), torch.full((48,), 1 / 48, dtype=torch.float64))
    assert torch.allclose(natural.sum(0), torch.full((4,), 1 / 4, dtype=torch.float64))
    assert set(load("synergy", images=48).pair_weights) == {"uniform"}


def test_all_pictures_are_the_whole_world():
    task = load("vision", images="all")
    assert task.images_enumerated
    assert not task.images_balanced
    assert len(task.images) == 2304


@pytest.mark.parametrize(
    ("variant", "images", "is_balanced"),
    [
        ("vision", 48, True),
        ("redundant", 48, True),
        ("synergy", 48, False),
        ("synergy", 576, True),
        ("vision", "all", False),
    ],
)
def test_images_are_declared_balanced_where_every_answer_is_as_frequent_as_in_the_world(variant, images, is_balanced):
    """Colours of a shape are as frequent as they fall in 48 images: U2 has the bias of random ones."""
    assert load(variant, images=images).images_balanced == is_balanced
