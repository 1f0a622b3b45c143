"""The learned design: classifiers that recover posteriors they were not shown, and natural pairs end to end."""

import pytest
import torch

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.pid import pid_from_posteriors
from fusionscope.probe import ProbeSpec, posteriors, probe
from fusionscope.probe.designs.classifier import cross_fit


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_log_linear_posterior_is_recovered_on_unseen_groups():
    x, w = draw(600, 6), draw(6, 3, seed=1)
    wanted = (x @ w).softmax(-1)
    found = cross_fit(x, torch.arange(600), wanted[None], torch.arange(600) // 3)
    assert (found[0] - wanted).abs().mean() < 0.01


def test_noise_features_give_the_marginal():
    target = draw(400, 4, seed=2).mul(2).softmax(-1)
    found = cross_fit(draw(400, 20), torch.arange(400), target[None], torch.arange(400))
    information = (found[0] * (found[0] / target.mean(0)).log2()).sum(-1).mean()
    assert information < 0.02
    assert (found[0].mean(0) - target.mean(0)).abs().max() < 0.01


def test_a_group_never_sees_itself():
    x = torch.eye(2, dtype=torch.float64)
    index = torch.arange(100) // 50
    target = x[index]
    found = cross_fit(x, index, target[None], index)
    assert (found[0] - (1 - target)).abs().max() < 0.2, "the fold of the other group knows only its answer"


def test_redundancy_by_dependence_is_seen():
    """x1 = x2 = y, with noise: the natural pairs are redundant, and so is what the classifiers find."""
    y = torch.arange(800) % 4
    joint = torch.nn.functional.one_hot(y, 4).double() * 0.96 + 0.01
    code = torch.nn.functional.one_hot(y, 4).double()
    vision = cross_fit(code + 0.1 * draw(800, 4), torch.arange(800), joint[None], torch.arange(800))
    language = cross_fit(code + 0.1 * draw(800, 4, seed=3), torch.arange(800), joint[None], torch.arange(800))
    result = pid_from_posteriors(joint[None], vision, language)[0]
    assert result.redundancy == pytest.approx(float(result.total), abs=0.15)
    assert abs(result.synergy) < 0.15


def test_natural_pairs_are_learned(llava, make_task):
    task = make_task(n_images=8, crossable=False)
    found = posteriors(llava, task, ProbeSpec(design="learned"))
    assert found.design == "learned"
    assert found.joint.shape == found.vision.shape == found.language.shape == (4, 24, 2)
    torch.testing.assert_close(
        found.joint, posteriors(llava, make_task(n_images=8)).conditionals.flatten(1, 2), atol=1e-5, rtol=0
    )
    results = probe(llava, task, ProbeSpec(design="learned", layers="last"))
    assert [(r.law, r.design, r.n, r.n_images, r.n_questions) for r in results] == [("natural", "learned", 24, 8, 3)]
    assert 0 <= results[0].diagnostics["marginal_mismatch"] < 0.1
    right = (found.joint[-1].argmax(-1) == task.pair_answers).double().mean()
    assert results[0].accuracy == pytest.approx(float(right))
    with pytest.raises(UnknownNameError, match="estimator 'guess'"):
        probe(llava, task, ProbeSpec(estimator="guess"))


def test_the_papers_design_end_to_end(llava, make_task):
    result = probe(llava, make_task(), ProbeSpec(design="masked", estimator="faithful", layers="last", fallback=0.3))[0]
    assert (result.design, result.estimator, result.law) == ("masked", "faithful", "natural")
    assert abs(result.diagnostics["sum_rule_residual"]) < 1e-6
    assert result.diagnostics["draws"] == 1


def test_one_image_alone_is_an_error_and_not_an_absence_of_information(llava, make_task):
    with pytest.raises(InputError, match="3 pairs of one image"):
        probe(llava, make_task(n_images=1), ProbeSpec(design="learned"))
