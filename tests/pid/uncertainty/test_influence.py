"""Standard errors of crossed designs: the derivatives they are made of, and the spread that they claim."""

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.pid import (
    bootstrap_crossed,
    bootstrap_posteriors,
    permutation_null,
    pid_crossed,
    subsampling_interval,
)
from fusionscope.pid.information import information_about_answer
from fusionscope.pid.local import local_scores
from fusionscope.pid.uncertainty.influence import _interaction_of_answers
from fusionscope.pid.union.solve import solve_union


def random_grid(a, b, k, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.softmax(1.5 * torch.randn(a, b, k, generator=g, dtype=torch.float64), -1)


def dominated():
    """Vision tells almost all; question types shift it a little: I(X2; Y) is small and quadratic in small effects."""
    g = torch.Generator().manual_seed(3)
    each = torch.eye(4, dtype=torch.float64)
    noise = 0.7 * torch.randn(4, 4, 4, generator=g, dtype=torch.float64)
    return torch.softmax(4 * each[:, None] + each + noise, -1)


@pytest.mark.parametrize("name", ["information_vision", "information_language", "total"])
def test_mixed_derivatives_are_those_of_the_information(name):
    """In the weights of an image and of a question, by automatic differentiation of the plug-in information."""
    p = random_grid(4, 5, 3, seed=0)

    def information(weights):
        w = weights[:4, None] * weights[4:]
        joint = p * (w / w.sum())[..., None]
        source = {
            "information_vision": joint.sum(1),
            "information_language": joint.sum(0),
            "total": joint.flatten(0, 1),
        }
        return information_about_answer(source[name][None])[0]

    mixed = torch.autograd.functional.hessian(information, torch.ones(9, dtype=torch.float64))[:4, 4:]
    w = torch.full((1, 4, 5), 1 / 20, dtype=torch.float64)
    joint = p[None] * w[..., None]
    scores = local_scores(p[None], joint, solve_union(joint.sum(2), joint.sum(1), 1e-8))
    ours = (w * scores[name] - _interaction_of_answers(joint))[0]

    def centred(x):
        x = x - x.mean(0)
        return x - x.mean(1, keepdim=True)

    torch.testing.assert_close(centred(ours), centred(mixed), atol=1e-12, rtol=1e-9)


def test_the_error_of_a_small_information_is_its_spread():
    """Where pairs seem to matter but cancel to first order, taking their variance off left errors a fifth too small."""
    world = dominated()
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randint(4, (300, 48), generator=g) for _ in range(2))
    result = pid_crossed(world[a[:, :, None], b[:, None]], standard_errors=True)
    spread, claimed = result.redundancy.std(), (result.standard_errors["redundancy"] ** 2).mean().sqrt()
    assert 0.9 <= claimed / spread <= 1.15


def test_pairs_that_do_matter_are_counted_once():
    """Entropies that vary from pair to pair alone: their variance is in the sums over images and over questions."""
    g = torch.Generator().manual_seed(0)
    sharp = (torch.rand(400, 12, 12, 1, generator=g) < 0.5).double()
    right = torch.randint(2, (400, 12, 12), generator=g)
    p = sharp * torch.nn.functional.one_hot(right, 2) + (1 - sharp) * 0.5
    result = pid_crossed(p, standard_errors=True, bias_correction=False)
    claimed = (result.standard_errors["total"] ** 2).mean().sqrt()
    assert 0.85 <= claimed / result.total.std() <= 1.25


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (bootstrap_crossed, {"n_replicates": 0}),
        (bootstrap_crossed, {"fraction": 0.0}),
        (subsampling_interval, {"level": 95}),
        (permutation_null, {"n_replicates": 1.5}),
    ],
)
def test_resampling_that_cannot_be_is_named(function, options):
    ((name, value),) = options.items()
    with pytest.raises(InputError, match=f"{name}={value!r}"):
        function(random_grid(3, 3, 2, seed=0), **options)


def test_samples_to_resample_are_checked_first():
    with pytest.raises(InputError, match="joint is a list"):
        bootstrap_posteriors([[0.5, 0.5]], *torch.full((2, 1, 2), 0.5))
