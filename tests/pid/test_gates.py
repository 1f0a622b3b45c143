"""The zoo: its formulas agree with the joints, and with a certificate found from outside."""

import math

import pytest
import torch

from fusionscope.errors import UnknownNameError
from fusionscope.pid import gates

ZOO = list(gates.zoo())


def _mutual_information(p: torch.Tensor) -> float:
    product = p.sum(1, keepdim=True) * p.sum(0, keepdim=True)
    return float((torch.special.xlogy(p, p) - torch.special.xlogy(p, product)).sum() / math.log(2))


@pytest.mark.parametrize("gate", ZOO, ids=lambda g: g.name)
def test_atoms_obey_the_marginal_identities(gate: gates.Gate) -> None:
    p = gate.joint
    assert p.dtype == torch.float64
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)
    assert gate.redundancy + gate.unique_vision == pytest.approx(_mutual_information(p.sum(1)), abs=1e-12)
    assert gate.redundancy + gate.unique_language == pytest.approx(_mutual_information(p.sum(0)), abs=1e-12)
    assert gate.total == pytest.approx(_mutual_information(p.flatten(0, 1)), abs=1e-12)
    assert min(gate.atoms().values()) >= -1e-12


@pytest.mark.parametrize("gate", ZOO, ids=lambda g: g.name)
def test_the_independent_coupling_does_not_undercut_the_union(gate: gates.Gate) -> None:
    p = gate.joint
    given_y = p.sum((0, 1)).clamp_min(1e-300)
    coupling = p.sum(1)[:, None] * p.sum(0)[None] / given_y
    assert _mutual_information(coupling.flatten(0, 1)) >= gate.union - 1e-6


def test_sizes_and_names() -> None:
    assert len(ZOO) == len(gates.names()) >= 30
    assert gates.gate("RDNUNQXOR").joint.shape == (8, 8, 16)
    assert gates.gate("reduced or") is gates.gate("Reduced-Or")


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match=r"'xnor2'[\s\S]*Fix: use one of AND"):
        gates.gate("xnor2")
