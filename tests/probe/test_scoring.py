"""Candidates that begin one another, and those that are the same."""

import math

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.lvlm import Prompt
from fusionscope.probe.engine.scoring import build_rows, to_posteriors


def test_mass_counts_a_candidate_that_begins_another_once():
    prompt = Prompt(text="Which?", ids=(1, 2), candidates=((5,), (5, 6), (7,)))
    rows = build_rows([prompt])
    chance = torch.tensor([[0.8, 1.0], [0.8, 0.9], [0.1, 1.0]]).log()  # P(5), then P(6 | 5); P(7)
    score, logprob = rows.fold(chance.unsqueeze(-1))
    posterior, mass = to_posteriors(score, logprob)
    assert mass.item() == pytest.approx(0.8 + 0.1, abs=1e-6)
    mean = torch.tensor([0.8, math.sqrt(0.8 * 0.9), 0.1], dtype=torch.float64)
    torch.testing.assert_close(posterior, (mean / mean.sum())[None], atol=1e-6, rtol=0)


def test_candidates_of_the_same_tokens_are_an_error():
    same = Prompt(text="Which?", ids=(1, 2), candidates=((5, 6), (7,), (5, 6)))
    with pytest.raises(InputError, match=r"the same token ids \[5, 6\]"):
        build_rows([same])
