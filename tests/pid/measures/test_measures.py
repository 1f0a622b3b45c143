"""The measure panel against dit, its identities, and the fit that two of its measures rest on."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.pid import pid_crossed
from fusionscope.pid.estimators import GridSample
from fusionscope.pid.measures import MEASURES, get_measure, measure_panel
from fusionscope.pid.measures.joint import Joint
from fusionscope.pid.measures.no_interaction import fit_no_interaction
from fusionscope.pid.result import ATOMS

GOLDEN = json.loads((Path(__file__).parent / "dit.json").read_text())


def joint_of(outcomes):
    p = torch.zeros([1 + max(outcome[axis] for outcome, _ in outcomes) for axis in range(3)], dtype=torch.float64)
    for outcome, probability in outcomes:
        p[tuple(outcome)] = probability
    return Joint(p_LABK=p[None])


def grid(seed=0, shape=(3, 5, 4, 3), scale=1.5):
    g = torch.Generator().manual_seed(seed)
    return torch.softmax(scale * torch.randn(*shape, generator=g, dtype=torch.float64), -1)


@pytest.mark.parametrize("row", GOLDEN["joints"], ids=lambda row: row["name"])
@pytest.mark.parametrize("name", MEASURES)
def test_atoms_are_those_of_dit(name, row):
    result = get_measure(name).atoms(joint_of(row["outcomes"]))
    assert bool(result.converged)
    for atom, bits in zip(ATOMS, row["atoms"][name], strict=True):
        assert float(getattr(result, atom)) == pytest.approx(bits, abs=1e-5), atom


def test_the_golden_values_cover_the_gates_and_twenty_random_joints():
    names = [row["name"] for row in GOLDEN["joints"]]
    assert GOLDEN["dit"] == "2.3"
    assert sum(name.startswith("random") for name in names) >= 20
    assert {"and", "synergy", "redundant", "rdn xor", "boom", "w"} <= set(names)


@pytest.mark.parametrize("name", MEASURES)
def test_atoms_are_those_of_the_installed_dit(name):
    dit = pytest.importorskip("dit")
    kinds = {"I_min": "PID_WB", "I_MMI": "PID_MMI", "I_CCS": "PID_CCS", "I_dep": "PID_dep", "I_SX": "PID_SX"}
    p = grid(seed=7, shape=(2, 3, 2)) / 6
    outcomes = ["".join(map(str, index)) for index in torch.cartesian_prod(*map(torch.arange, p.shape)).tolist()]
    theirs = getattr(dit.pid, kinds[name])(dit.Distribution(outcomes, p.flatten().tolist()))
    ours = get_measure(name).atoms(Joint(p_LABK=p[None]))
    assert float(ours.redundancy) == pytest.approx(float(theirs[((0,), (1,))]), abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(2, 4))
def test_identities_hold_under_every_measure(seed, k):
    p = grid(seed, (4, 5, k))
    exact = pid_crossed(p, images_enumerated=True, questions_enumerated=True)
    swapped = measure_panel(GridSample(conditionals=p.transpose(0, 1)))
    for name, result in measure_panel(GridSample(conditionals=p)).items():
        assert float(sum(result.atoms().values())) == pytest.approx(float(result.total), abs=1e-9)
        assert float(result.total) == pytest.approx(float(exact.total), abs=1e-9)
        assert float(result.redundancy + result.unique_vision) == pytest.approx(float(exact.information_vision))
        assert float(swapped[name].unique_language) == pytest.approx(float(result.unique_vision), abs=1e-6)
        assert result.estimator == name
    panel = measure_panel(GridSample(conditionals=p))
    for name in ("I_min", "I_dep"):
        assert panel[name].redundancy >= -1e-9
    assert panel["I_dep"].redundancy <= panel["I_MMI"].redundancy + 1e-9


def test_layers_and_weights_are_decomposed_as_alone():
    p, w = grid(), torch.rand(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    w = w / w.sum()
    together = measure_panel(GridSample(conditionals=p, weights=w))
    for name, result in together.items():
        assert result.synergy.shape == (3,)
        alone = measure_panel(GridSample(conditionals=p[1], weights=w), [name])[name]
        torch.testing.assert_close(result.synergy[1], alone.synergy, atol=1e-8, rtol=0)


@pytest.mark.parametrize("scale", [1.0, 12.0, 200.0])
def test_the_distribution_without_interaction_has_the_marginals_and_none(scale):
    p = grid(scale=scale) / 20
    fit = fit_no_interaction(p)
    assert bool(fit.converged_L.all())
    for axis in (1, 2, 3):
        torch.testing.assert_close(fit.q_LABK.sum(axis), p.sum(axis), atol=1e-7, rtol=0)
    if scale == 1.0:
        logs = fit.q_LABK.log()
        rest = logs - logs.mean(1, keepdim=True)
        rest = rest - rest.mean(2, keepdim=True)
        assert (rest - rest.mean(3, keepdim=True)).abs().max() < 1e-6


def test_marginals_that_force_zeros_converge():
    """AND: the marginals leave (1, 1, 0) no mass, which proportional fitting approaches as one over its rounds."""
    p = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    p[0, 0, 0, 0] = p[0, 0, 1, 0] = p[0, 1, 0, 0] = p[0, 1, 1, 1] = 0.25
    fit = fit_no_interaction(p)
    assert bool(fit.converged_L)
    torch.testing.assert_close(fit.q_LABK, p, atol=1e-8, rtol=0)


def test_unknown_measures_and_bad_grids_are_refused():
    with pytest.raises(UnknownNameError, match=r"measure 'I_max'[\s\S]*I_min, I_MMI, I_CCS, I_dep, I_SX"):
        get_measure("I_max")
    with pytest.raises(InputError, match="conditionals sums to 2"):
        measure_panel(GridSample(conditionals=2 * grid()))
