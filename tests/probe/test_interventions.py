"""Interventions change what they say and nothing else; rotation cancels a preference for letters."""

import numpy as np
import pytest
import torch

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.probe import posteriors
from fusionscope.probe.experimental.interventions import compare, occlude, shuffle_images, shuffle_words
from fusionscope.probe.experimental.rotation import rotated, rotation_posteriors
from fusionscope.tasks import Question


def test_occlusion_covers_the_share_in_the_middle(make_task):
    task = make_task(n_images=2)
    half = np.asarray(occlude(task, 0.25).images[0])
    whole = np.asarray(task.images[0])
    covered = (half == 128).all(-1)
    assert covered.mean() == pytest.approx(0.25, abs=0.02)
    assert covered[20, 24]
    assert (half[~covered] == whole[~covered]).all()
    assert (np.asarray(occlude(task).images[1]) == 128).all()
    assert set(occlude(task).image_ids).isdisjoint(task.image_ids)
    with pytest.raises(InputError, match="share=0"):
        occlude(task, 0)


def test_shuffled_images_leave_no_picture_in_its_place(make_task):
    task = make_task(n_images=6)
    other = shuffle_images(task)
    assert sorted(other.image_ids) == sorted(task.image_ids)
    assert all(a != b for a, b in zip(other.image_ids, task.image_ids, strict=True))
    at = list(task.image_ids).index(other.image_ids[2])
    assert (np.asarray(other.images[2]) == np.asarray(task.images[at])).all()
    assert torch.equal(other.truth, task.truth)


def test_shuffled_words_keep_the_options(make_task):
    question = Question(text="what colour is the circle A red B blue", candidates=("A", "B"), blanked="A red B blue")
    task = make_task(n_questions=1, candidates=("A", "B"), questions=[question])
    text = shuffle_words(task).questions[0].text
    assert text.endswith(" A red B blue")
    assert sorted(text.split()) == sorted(question.text.split())
    assert text != question.text


def test_before_and_after(llava, make_task):
    found = compare(llava, make_task(), layers="last", standard_errors=False)
    assert list(found) == ["none", "occlude", "shuffle_images", "shuffle_words"]
    assert found["none"][0].pid.information_vision > 1e-5
    assert abs(found["occlude"][0].pid.information_vision) < 1e-6, "all pictures are alike"
    assert found["none"][0].pid.total == pytest.approx(float(found["shuffle_images"][0].pid.total), abs=1e-6)
    with pytest.raises(UnknownNameError, match="intervention 'blur'"):
        compare(llava, make_task(), ["blur"])


def test_rotation_puts_answers_back_in_their_place(llava, make_task):
    options = ("cat", "dog", "owl")
    questions = [
        Question(text=f"{text} A. cat B. dog C. owl", candidates=("A", "B", "C")) for text in ("Which?", "It?")
    ]
    task = make_task(n_images=3, n_questions=2, candidates=("A", "B", "C"), questions=questions)
    found = rotation_posteriors(llava, task, [options] * 2, layers="last")
    by_hand = torch.zeros_like(found.crossed)
    for by in range(3):
        moved = [rotated(question, options, by) for question in questions]
        assert moved[0].text.split()[2] == options[by]
        letters = posteriors(llava, type(task)(**vars(task) | {"questions": moved}), layers="last").crossed
        for letter in range(3):
            by_hand[..., (letter + by) % 3] += letters[..., letter] / 3
    torch.testing.assert_close(found.crossed, by_hand)
    assert 0 < found.details["letter_bias"] < 1
    with pytest.raises(InputError, match="option 'fox'"):
        rotated(questions[0], ("cat", "fox"), 1)
