"""easy-VQA as installed: tasks whose truth is the package's own answers."""

import pytest
import torch

from fusionscope.errors import UnknownNameError
from fusionscope.tasks import load_task
from fusionscope.tasks.easy_vqa import COLORS, SHAPES, facts, load, questions_of


def test_facts_contradict_no_answer():
    for part in ("train", "test"):
        assert all(seen.colors and seen.shapes for seen in facts(part).values())
    assert sum(seen.known for seen in facts("test").values()) == 888


@pytest.mark.parametrize(
    ("variant", "n_questions", "n_answers"),
    [("", 5, 11), ("open", 5, 11), ("color", 2, 8), ("shape", 3, 3), ("yesno", 88, 2)],
)
def test_truth_agrees_with_every_answer_of_the_package(variant, n_questions, n_answers):
    task = load(variant, n_images=1000)
    assert (len(task.images), len(task.questions), len(task.answers)) == (888, n_questions, n_answers)
    assert task.crossable
    assert task.questions_enumerated
    assert task.dropped["images of unknown colour or shape"] == 112
    assert len(task.pairs) > 500
    assert torch.equal(task.truth[task.pairs[:, 0], task.pairs[:, 1]], task.pair_answers)


def test_left_out_questions_take_something_for_granted():
    """What no variant asks names a colour or shape in a question that is no yes/no question."""
    asked = {q.text for variant in ("open", "yesno") for q in load(variant, n_images=2).questions}
    for question in {q for q, _, _ in questions_of("test")} - asked:
        assert set(question.strip("?").split()) & {*COLORS, *SHAPES}


def test_draws_repeat_with_their_seed_and_sample_the_axes():
    one, two, other = (load("yesno", n_images=8, n_questions=6, seed=seed) for seed in (0, 0, 1))
    assert one.image_ids == two.image_ids != other.image_ids
    assert len(one.questions) == 6
    assert not one.questions_enumerated
    assert one.images[3].mode == "RGB"


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match="variant of the task easy_vqa 'size'"):
        load("size")
    with pytest.raises(UnknownNameError, match="part of easy-VQA 'dev'"):
        facts("dev")


def test_it_is_registered():
    from fusionscope.tasks import known_tasks

    assert "easy_vqa" in known_tasks()
    assert load_task("easy_vqa/shape", n_images=4).name == "easy_vqa/shape"
