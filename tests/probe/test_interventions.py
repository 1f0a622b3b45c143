"""Atoms before and after an intervention; rotation cancels a preference for letters."""

from dataclasses import replace

import pytest
import torch

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.probe import ProbeSpec, posteriors
from fusionscope.probe.experimental.interventions import compare
from fusionscope.probe.experimental.rotation import rotated, rotation_posteriors
from fusionscope.tasks import Question


def test_before_and_after(llava, make_task):
    found = compare(llava, make_task(), spec=ProbeSpec(layers="last", standard_errors=False))
    assert list(found) == ["none", "occlude", "shuffle_images", "shuffle_words"]
    assert found["none"][0].pid.information_vision > 1e-5
    assert abs(found["occlude"][0].pid.information_vision) < 1e-6, "all images are alike"
    assert found["none"][0].pid.total == pytest.approx(float(found["shuffle_images"][0].pid.total), abs=1e-6)
    with pytest.raises(UnknownNameError, match="intervention 'blur'"):
        compare(llava, make_task(), ["blur"])


def test_rotation_puts_answers_back_in_their_place(llava, make_task):
    options = ("cat", "dog", "owl")
    questions = [
        Question(text=f"{text} A. cat B. dog C. owl", candidates=("A", "B", "C")) for text in ("Which?", "It?")
    ]
    task = make_task(n_images=3, n_questions=2, candidates=("A", "B", "C"), questions=questions)
    found = rotation_posteriors(llava, task, [options] * 2, ProbeSpec(layers="last"))
    by_hand = torch.zeros_like(found.conditionals)
    for by in range(3):
        moved = [rotated(question, options, by) for question in questions]
        assert moved[0].text.split()[2] == options[by]
        letters = posteriors(llava, replace(task, questions=moved), ProbeSpec(layers="last")).conditionals
        for letter in range(3):
            by_hand[..., (letter + by) % 3] += letters[..., letter] / 3
    torch.testing.assert_close(found.conditionals, by_hand)
    assert 0 < found.details["letter_bias"] < 1
    with pytest.raises(InputError, match="option 'fox'"):
        rotated(questions[0], ("cat", "fox"), 1)
