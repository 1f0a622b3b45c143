from types import SimpleNamespace

import pytest
import torch

from fusionscope.probe import GridPosteriors
from fusionscope.probe.designs.crossed import Crossed
from fusionscope.sandbox import oracle
from fusionscope.sandbox.tasks import load
from fusionscope.sandbox.world import scenes

ONE_HOT = torch.eye(4, dtype=torch.float64)


def atoms(result):
    return {name: float(bits) for name, bits in result.atoms().items()}


def test_a_noisy_right_answer_has_the_synergy_of_its_channel():
    task = load("synergy", images="all")
    p_ABK = 0.7 * ONE_HOT[task.truth] + 0.3 / 4
    found = atoms(oracle.exact(p_ABK, task, "uniform"))
    noise = torch.tensor([0.775, 0.075, 0.075, 0.075], dtype=torch.float64)
    assert found["synergy"] == pytest.approx(2 + float((noise * noise.log2()).sum()), abs=1e-5)
    assert max(abs(found[name]) for name in ("redundancy", "unique_vision", "unique_language")) < 1e-5


def test_a_model_that_looks_at_one_cell_only_has_unique_vision():
    task = load("synergy", images="all")
    first_cell = torch.tensor([scene.colours[0] for scene in scenes()])
    found = atoms(oracle.exact(ONE_HOT[first_cell][:, None].expand(-1, 4, -1), task, "uniform"))
    assert found["unique_vision"] == pytest.approx(2, abs=1e-5)
    assert found["synergy"] == pytest.approx(0, abs=1e-5)


def test_a_model_that_repeats_the_hint_is_unique_or_redundant_by_the_law(monkeypatch):
    def repeat_the_hint(self, lvlm, task, *_):
        return GridPosteriors(
            task=task.name,
            design="crossed",
            layers=(3, 4),
            n_layers=4,
            mass=torch.ones(2, 2304, 4),
            conditionals=ONE_HOT.expand(2, len(task.images), 4, 4),
        )

    monkeypatch.setattr(Crossed, "posteriors", repeat_the_hint)
    model = SimpleNamespace(layer_numbers=lambda _: (3, 4), final_norm=None, head=None)
    found = oracle.model_pid(model, "redundant")
    for layer in range(2):
        assert atoms(found["uniform"][layer])["unique_language"] == pytest.approx(2, abs=1e-5)
        assert atoms(found["natural"][layer])["redundancy"] == pytest.approx(2, abs=1e-5)
