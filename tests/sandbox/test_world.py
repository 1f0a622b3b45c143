from collections import Counter

import pytest

from fusionscope.sandbox import oracle, world
from fusionscope.sandbox.world import IMAGE_SIZE, N_SCENES, render, scenes, split


def test_every_scene_class_has_its_own_picture():
    pictures = {render(scene).tobytes() for scene in scenes()}
    assert len(scenes()) == len(pictures) == N_SCENES


def test_a_picture_is_always_the_same():
    first, again = render(scenes()[777]), render(scenes()[777])
    assert first.size == (IMAGE_SIZE, IMAGE_SIZE)
    assert first.tobytes() == again.tobytes()


def test_the_split_is_disjoint_complete_and_one_background_of_every_combination():
    train, held_out = split()
    assert (len(train), len(held_out)) == (1728, 576)
    assert {s.index for s in train}.isdisjoint(s.index for s in held_out)
    assert len({(s.shapes, s.colours) for s in held_out}) == 576


@pytest.mark.parametrize("kinds", [("shapes", "colours"), ("shapes", "background"), ("colours", "background")])
def test_held_out_scenes_are_balanced(kinds):
    def fact(scene, kind, cell):
        return scene.background if kind == "background" else getattr(scene, kind)[cell]

    facts = Counter((i, *(fact(s, kind, i) for kind in kinds)) for s in split()[1] for i in range(4))
    assert len(facts) == 64
    assert set(facts.values()) == {36}


def test_held_out_scenes_are_nearly_balanced_over_shape_colour_and_background():
    facts = Counter((s.shapes[i], s.colours[i], s.background) for s in split()[1] for i in range(4))
    assert len(facts) == 64
    assert max(abs(n - 36) for n in facts.values()) <= 3


@pytest.mark.parametrize(
    ("variant", "atom"),
    [
        ("synergy", "synergy"),
        ("knowledge", "unique_language"),
        ("vision", "unique_vision"),
        ("redundant", "redundancy"),
    ],
)
def test_each_family_has_two_bits_of_its_atom_and_nothing_else(variant, atom):
    found = oracle.world_pid(variant)
    assert bool(found.converged)
    for name, bits in found.atoms().items():
        assert float(bits) == pytest.approx(2.0 if name == atom else 0.0, abs=1e-5), name


def test_questions_show_their_options_in_fixed_order():
    assert world.colour_question("circle") == "what colour is the circle ? A red B green C blue D yellow"
    assert world.hint_question(1).startswith("hint white . what colour is the background ?")
    assert world.background_question(0) != world.background_question(1)
