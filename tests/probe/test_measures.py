"""Other redundancies beside the estimator's: recorded where asked for, refused where there is no grid."""

import pytest
import torch

from fusionscope.errors import ConfigError, UnknownNameError
from fusionscope.pid.estimators import GridSample
from fusionscope.pid.measures import measure_panel
from fusionscope.probe import ProbeSpec, posteriors, probe


def test_atoms_of_measures_are_in_the_diagnostics_of_every_layer(llava, make_task):
    task = make_task(n_images=4, n_questions=3)
    plain = probe(llava, task, ProbeSpec(laws="uniform"))
    beside = probe(llava, task, ProbeSpec(laws="uniform", measures=["I_min", "I_dep"]))
    grid = GridSample(conditionals=posteriors(llava, task).conditionals)
    panel = measure_panel(grid, ["I_min", "I_dep"])
    for i, (without, result) in enumerate(zip(plain, beside, strict=True)):
        for name, expected in panel.items():
            for atom, bits in expected.atoms().items():
                assert result.diagnostics[f"{name}_{atom}"] == pytest.approx(float(bits[i]), abs=1e-9)
        assert torch.equal(result.pid.synergy, without.pid.synergy)
        assert not any(name.startswith("I_") for name in without.diagnostics)
        assert result.variant == without.variant
        assert result.fingerprints["spec"] != without.fingerprints["spec"]


def test_measures_need_a_grid_and_a_name_that_is_known(make_task):
    assert ProbeSpec(measures="I_min").changes() == {"measures": ["I_min"]}
    with pytest.raises(UnknownNameError, match="measure 'I_max'"):
        ProbeSpec(measures=["I_max"])
    with pytest.raises(ConfigError, match=r"measures I_min of task [\s\S]*crossed grid"):
        ProbeSpec(design="masked", measures=["I_min"]).check(make_task())
