"""Estimators by name: options, samples they take, agreement with the public functions, and what is refused."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest
import torch

from fusionscope import plugins
from fusionscope.errors import ConfigError, InputError, UnknownNameError
from fusionscope.pid import pid_crossed, pid_from_posteriors
from fusionscope.pid.estimators import GridSample, PairSample, get_estimator, known_estimators, register


def grid(seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.softmax(1.5 * torch.randn(2, 6, 5, 3, generator=g, dtype=torch.float64), -1)


def pairs(**more):
    p = grid()
    vision, language = p.mean(2, keepdim=True).expand_as(p), p.mean(1, keepdim=True).expand_as(p)
    joint, vision, language = (x.flatten(1, 2) for x in (p, vision, language))
    return PairSample(joint=joint, vision=vision, language=language, **more)


def test_every_estimator_says_what_it_is_and_what_it_takes():
    assert set(known_estimators()) >= {"exact", "faithful", "batch"}
    for name in known_estimators():
        estimator = get_estimator(name)
        assert estimator.name == name
        assert estimator.sentence.endswith(".")
        assert estimator.takes


@pytest.mark.parametrize("name", ["exact", "faithful", "batch"])
def test_results_carry_the_name_of_their_estimator_and_the_layers_of_the_sample(name):
    features = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    sample = pairs(features_vision=features, features_language=features)
    options = {"epochs": 1} if name == "batch" else {}
    result = get_estimator(name, **options).decompose(sample, standard_errors=True)
    assert result.estimator == name
    assert result.synergy.shape == (2,)
    assert bool(result.standard_errors) == get_estimator(name).gives_standard_errors


def test_the_public_functions_are_the_exact_estimator():
    p, sample = grid(), pairs()
    direct = get_estimator("exact", tolerance=1e-6).decompose(GridSample(conditionals=p))
    for name, bits in pid_crossed(p).atoms().items():
        assert torch.equal(direct.atoms()[name], bits), name
    of_pairs = get_estimator("exact").decompose(sample)
    for name, bits in pid_from_posteriors(sample.joint, sample.vision, sample.language).atoms().items():
        assert torch.equal(of_pairs.atoms()[name], bits), name


def test_a_grid_and_its_pairs_have_the_same_plug_in():
    of_grid = get_estimator("exact", bias_correction=False).decompose(GridSample(conditionals=grid()))
    of_pairs = get_estimator("exact").decompose(pairs())
    for name, bits in of_grid.atoms().items():
        torch.testing.assert_close(of_pairs.atoms()[name], bits, atol=2e-6, rtol=0)


def test_clusters_are_numbered_from_zero():
    images, questions = pairs(images=torch.arange(30) // 5 + 7).clusters()
    assert images.tolist() == (torch.arange(30) // 5).tolist()
    assert questions.tolist() == list(range(30))


def test_unknown_names_options_and_samples_are_refused():
    with pytest.raises(UnknownNameError, match=r"estimator 'exakt'[\s\S]*batch, exact, faithful"):
        get_estimator("exakt")
    with pytest.raises(ConfigError, match=r"estimator 'exact'[\s\S]*epochs[\s\S]*max_tilt"):
        get_estimator("exact", epochs=3)
    with pytest.raises(InputError, match="max_tilt=2"):
        get_estimator("exact", max_tilt=2)
    with pytest.raises(ConfigError, match=r"'faithful' on a crossed grid[\s\S]*decomposes pairs"):
        get_estimator("faithful").decompose(GridSample(conditionals=grid()))
    with pytest.raises(ConfigError, match="'batch' on samples without features"):
        get_estimator("batch").check_usable(PairSample)
    with pytest.raises(InputError, match=r"images has shape \(3,\)"):
        pairs(images=torch.arange(3)).clusters()
    with pytest.raises(InputError, match=r"questions has shape \(30,\) and dtype torch.float32"):
        pairs(questions=torch.zeros(30)).clusters()


@dataclass(frozen=True, kw_only=True)
class Misnamed:
    name = "other"


def test_an_entry_point_that_is_no_estimator_is_refused(monkeypatch):
    entry = EntryPoint("misnamed", "unused:Misnamed", register.ESTIMATORS.group)
    monkeypatch.setattr(EntryPoint, "load", lambda _: Misnamed)
    monkeypatch.setattr(plugins, "entries_of", lambda group: {"misnamed": entry})
    with pytest.raises(ConfigError, match=r"entry point 'misnamed' gives a Misnamed[\s\S]*subclass of .*Estimator"):
        get_estimator("misnamed")
