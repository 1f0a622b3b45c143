"""The integral of potentials against the closed form of the union information."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionscope.pid import pid_from_joint
from fusionscope.pid.identified.bounds import Source
from fusionscope.pid.identified.estimate import Clusters, mean_of
from fusionscope.pid.identified.moments import repeats
from fusionscope.pid.identified.two_answers import binary_union, cell_loss
from fusionscope.pid.information import NATS_TO_BITS


def grid(seed: int, images: int, questions: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    scale = 3 * torch.rand(3, generator=g, dtype=torch.float64)
    parts = [torch.randn(*shape, generator=g).double() for shape in ((images, 1), (1, questions), (images, questions))]
    return torch.sigmoid(sum(s * x for s, x in zip(scale, parts, strict=True)) - scale[0])


def union_of(p: torch.Tensor, *, whole: bool):
    images, questions = p.shape
    n = p.numel()
    image_N, question_N = torch.arange(images).repeat_interleave(questions), torch.arange(questions).repeat(images)
    weights_N = torch.full((n,), 1 / n, dtype=torch.float64)
    clusters = Clusters(
        image_N=image_N, question_N=None, weights_N=weights_N, fold_N=image_N % 5, sampled_fraction=float(whole)
    )
    sources = []
    for object_N, size in ((image_N, questions), (question_N, images)):
        size_N = torch.full((n,), float(size), dtype=torch.float64) if whole else None
        of = repeats(p.reshape(1, n, 1), object_N, weights_N, size_N=size_N)
        sources.append(Source(of, 0, clusters))
    return binary_union(p.reshape(1, n), (sources[0], sources[1]), clusters, 2.0)


@given(seed=st.integers(0, 2**31), images=st.integers(5, 30), questions=st.integers(2, 12))
@settings(max_examples=15, deadline=None)
def test_known_posteriors_are_bracketed(seed: int, images: int, questions: int) -> None:
    p = grid(seed, images, questions)
    exact = pid_from_joint(torch.stack([1 - p, p], -1) / p.numel())
    of = union_of(p, whole=True)
    for name, ends in (
        ("redundancy", of.redundancy),
        ("unique_vision", of.unique[0]),
        ("unique_language", of.unique[1]),
    ):
        truth = float(getattr(exact, name))
        assert NATS_TO_BITS * float(ends["lower"].value_L) <= truth + 1e-9, name
        assert NATS_TO_BITS * float(ends["upper"].value_L) >= truth - 1e-9, name
    high = NATS_TO_BITS * float(of.union["upper"].value_L)
    truth = float(exact.total - exact.synergy)
    assert truth - 1e-9 <= high <= truth + 0.003
    assert NATS_TO_BITS * float(of.union["lower"].value_L) <= truth + 1e-9


def test_what_chords_lose_is_no_more_than_stated() -> None:
    m = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    t = torch.cat([m.new_zeros(1), torch.sin(torch.arange(1, 32) * torch.pi / 64).double() ** 2])
    fine = torch.linspace(0, 1, 401, dtype=torch.float64)
    worst = 0.0
    for low, high in zip(t[:-1].tolist(), t[1:].tolist(), strict=True):
        x = low + (high - low) * (fine[1:] + fine[:-1]) / 2
        inside = m[(m > low) & (m < high)][:, None]
        chord = (x - low) / (high - low) * (high - inside)
        kink = (x - inside).clamp(min=0)
        worst = max(worst, float((((chord - kink) / (x * (1 - x))).mean(1) * (high - low)).max()))
    assert float(cell_loss(torch.zeros(1, dtype=torch.float64))) == pytest.approx(worst, rel=0.02)


def test_swapping_sources_swaps_unique_parts() -> None:
    p = grid(3, 12, 12)
    there, back = union_of(p, whole=False), union_of(p.mT.contiguous(), whole=False)
    # The folds follow images, so that the ends agree up to what is chosen by folds.
    for end in ("lower", "upper"):
        assert float(there.unique[0][end].value_L) == pytest.approx(float(back.unique[1][end].value_L), abs=0.02)


def test_means_carry_influences_that_sum_to_zero() -> None:
    rows = torch.rand(2, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = torch.rand(9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    estimate = mean_of(rows, weights / weights.sum())
    torch.testing.assert_close(estimate.influence_LN.sum(1), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-14)
