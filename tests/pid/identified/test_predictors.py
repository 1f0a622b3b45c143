"""Held-out cross entropy as a lower bound: valid, and close where features tell."""

import math

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.pid.identified import identified_pid
from fusionscope.pid.identified.boosting import boosted
from fusionscope.pid.identified.feature_maps import feature_maps, principal_components


def classes(kind: str, n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """An image's class, and features that tell it: by a line, by an exclusive or of two directions, or not at all."""
    g = torch.Generator().manual_seed(seed)
    axes = torch.randn(4, 48, generator=torch.Generator().manual_seed(99))
    noise = torch.randn(n, 48, generator=g)
    if kind == "linear":
        label = torch.randint(0, 4, (n,), generator=g)
        return label, axes[label] + 0.1 * noise
    bits = torch.randint(0, 2, (n, 2), generator=g)
    features = (2 * bits - 1).float() @ axes[:2] + 0.5 * noise
    return bits[:, 0] ^ bits[:, 1], noise if kind == "none" else features


def posteriors(label: torch.Tensor, answers: int) -> torch.Tensor:
    return 0.98 * torch.nn.functional.one_hot(label, answers).double() + 0.02 / answers


def information(p: torch.Tensor) -> float:
    return float(torch.special.entr(p.mean(0)).sum() - torch.special.entr(p).sum(-1).mean()) / math.log(2)


@pytest.mark.parametrize(("kind", "answers"), [("linear", 4), ("xor", 2)])
def test_one_question_an_image_is_enough_where_features_tell(kind: str, answers: int) -> None:
    label, features = classes(kind, 300)
    p = posteriors(label, answers)
    result = identified_pid(p, torch.arange(300), torch.arange(300), features_vision=features)
    assert information(p) - 0.06 < float(result.lower["information_vision"]) <= information(p) + 0.01
    assert float(result.upper["synergy"]) < 0.06


def test_features_that_tell_nothing_give_nothing() -> None:
    lower = []
    for seed in range(4):
        label, features = classes("none", 150, seed)
        p = posteriors(label, 2)
        lower.append(
            identified_pid(p, torch.arange(150), torch.arange(150), features_vision=features).lower[
                "information_vision"
            ]
        )
    assert float(torch.stack(lower).max()) < 0.01


def test_trees_learn_what_no_line_does() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 4, generator=g, dtype=torch.float64)
    label = (x[:, 0] * x[:, 1] > 0).long()
    target = posteriors(label, 2)[None]
    weights = torch.ones(1, 400, dtype=torch.float64)
    weights[:, 300:] = 0.0
    q = boosted(x, weights, target)[0, 300:]
    assert float((q.argmax(-1) == label[300:]).double().mean()) > 0.9
    torch.testing.assert_close(q.sum(-1), torch.ones(100, dtype=torch.float64))


def test_boosting_solves_problems_apart() -> None:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(60, 3, generator=g, dtype=torch.float64)
    targets = torch.rand(3, 60, 3, generator=g, dtype=torch.float64)
    targets = targets / targets.sum(-1, keepdim=True)
    weights = torch.rand(3, 60, generator=g, dtype=torch.float64)
    together = boosted(x, weights, targets)
    apart = torch.cat([boosted(x, weights[i : i + 1], targets[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("objects", "width"), [(30, 100), (100, 30)])
def test_principal_components_keep_distances(objects: int, width: int) -> None:
    x = torch.randn(objects, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = principal_components(x, torch.ones(objects, dtype=torch.float64))
    z = (x - x.mean(0)) / x.std(0, correction=0)
    torch.testing.assert_close(torch.cdist(parts, parts), torch.cdist(z, z), rtol=1e-6, atol=1e-5)
    assert bool((parts.square().sum(0).diff() <= 1e-9).all())


def test_constant_features_are_borne() -> None:
    maps = dict(feature_maps(torch.ones(20, 5), torch.ones(20, dtype=torch.float64)))
    assert all(bool(torch.isfinite(x).all()) for x in maps.values())


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros(3, 2), r"features_vision is \(3, 2\)"),
        (torch.full((8, 2), torch.nan), "row 0 of features_vision is not finite"),
        (torch.arange(16.0).reshape(8, 2), "row 1 of features_vision differs from row 0"),
    ],
)
def test_bad_features_are_refused(features: torch.Tensor, message: str) -> None:
    joint = torch.full((8, 2), 0.5, dtype=torch.float64)
    with pytest.raises(InputError, match=message):
        identified_pid(joint, torch.arange(4).repeat_interleave(2), torch.arange(8), features_vision=features)
