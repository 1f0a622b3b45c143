"""Open-ended questions: what the model says becomes what is scored."""

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.probe import ProbeSpec, posteriors, probe
from fusionscope.probe.experimental.open_ended import normalised, open_ended


def test_strings_are_grouped():
    assert normalised("A cat!") == normalised("the  CAT") == "cat"
    assert normalised("yes.") != normalised("no.")


def test_the_models_own_answers_become_candidates(llava, make_task):
    task, state = make_task(), torch.get_rng_state()
    settings = {"n_pairs": 4, "samples": 3, "max_new_tokens": 3, "max_candidates": 4}
    found = open_ended(llava, task, **settings)
    assert torch.equal(torch.get_rng_state(), state)
    assert 2 <= len(found.answers) <= 4
    assert len(set(found.answers)) == len(found.answers)
    assert open_ended(llava, task, **settings).answers == found.answers
    assert open_ended(llava, task, seed=1, **settings).answers != found.answers
    p = posteriors(llava, found, ProbeSpec(layers="last"))
    assert p.conditionals.shape == (1, 5, 3, len(found.answers))
    result = probe(llava, found, ProbeSpec(layers="last"))[0]
    assert result.accuracy != result.accuracy, "no right answer is known"
    assert result.pid.converged


def test_a_model_of_one_word_is_told_so(llava, make_task):
    with pytest.raises(InputError, match=r"different thing\(s\)[\s\S]*temperature"):
        open_ended(llava, make_task(n_images=1, n_questions=1), n_pairs=1, samples=1, max_new_tokens=2)
