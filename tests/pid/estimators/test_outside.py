"""An estimator of somebody else's package, as fusionscope finds it: by an entry point alone."""

import pytest
import torch

from fusionscope.errors import ConfigError, InputError
from fusionscope.pid import pid_from_posteriors
from fusionscope.pid.estimators import GridSample, PairSample, get_estimator, known_estimators
from fusionscope.pid.measures import measure_panel


@pytest.fixture(autouse=True)
def installed(install_outside):
    install_outside("fusionscope.estimators")


def grid():
    return torch.softmax(2 * torch.randn(3, 5, 4, 3, generator=torch.Generator().manual_seed(0)).double(), -1)


def test_it_is_known_beside_ours_and_decomposes_grids_and_pairs():
    assert {"specific_information", "exact", "faithful", "batch"} <= set(known_estimators())
    estimator, p = get_estimator("specific_information", max_mismatch=0.2), grid()
    theirs = measure_panel(GridSample(conditionals=p), ["I_min"])["I_min"]
    vision, language = p.mean(2, keepdim=True).expand_as(p), p.mean(1, keepdim=True).expand_as(p)
    parts = {name: x.flatten(1, 2) for name, x in (("joint", p), ("vision", vision), ("language", language))}
    for result in (
        estimator.decompose(GridSample(conditionals=p)),
        estimator.decompose(PairSample(**parts)),
        pid_from_posteriors(**parts, estimator="specific_information"),
    ):
        assert result.estimator == "specific_information"
        for name, bits in theirs.atoms().items():
            torch.testing.assert_close(result.atoms()[name], bits, atol=1e-9, rtol=0)


def test_marginals_that_disagree_are_unsolved_and_options_are_checked():
    p = grid()[:, :, 0]
    skewed = torch.tensor([0.9, 0.05, 0.05]).double().expand_as(p)
    result = get_estimator("specific_information").decompose(PairSample(joint=p, vision=skewed, language=p))
    assert torch.isnan(result.synergy).all()
    assert not result.converged.any()
    with pytest.raises(InputError, match="max_mismatch=2"):
        get_estimator("specific_information", max_mismatch=2)
    with pytest.raises(ConfigError, match="it takes max_mismatch"):
        get_estimator("specific_information", mismatch=0.1)
