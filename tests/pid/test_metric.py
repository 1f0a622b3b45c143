"""The metric: streams, weights, processes with unequal shares."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from torch import Tensor

from fusionscope.errors import FusionscopeError, InputError
from fusionscope.pid import PartialInformationDecomposition, pid_from_posteriors

SOURCES = os.pathsep.join(str(Path(__file__).parents[2] / part) for part in ("harness", "callbacks"))
# Which of fourteen samples each of two processes holds: unequal shares, and a process with none.
SHARES = {"uneven": (slice(0, 11), slice(11, 14)), "empty": (slice(0, 14), slice(0, 0))}


def posteriors(n: int, layers: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Random consistent posteriors of a grid of two by n / 2 cells, shuffled, [layers, n, 3]."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.rand(layers, 2, n // 2, 3, generator=generator, dtype=torch.float64).pow(3)
    grid = grid / grid.sum(-1, keepdim=True)
    parts = (grid, grid.mean(2, keepdim=True), grid.mean(1, keepdim=True))
    order = torch.randperm(n, generator=generator)
    return tuple(part.expand_as(grid).flatten(1, 2)[:, order] for part in parts)  # type: ignore[return-value]


def test_a_stream_equals_one_call_on_all_samples() -> None:
    p = posteriors(30, 2)
    metric = PartialInformationDecomposition()
    for part in ([slice(0, 7)], [slice(7, 8)], [slice(8, 30)]):
        metric.update(*(x[:, part[0]] for x in p))
    computed = metric.compute()
    expected = pid_from_posteriors(*p)
    for name, value in expected.atoms().items():
        torch.testing.assert_close(computed[name], value, atol=1e-5, rtol=0)
    assert computed["converged"].shape == (2,)
    metric.reset()
    metric.update(*(x[0, :1] for x in p))
    assert float(metric.compute()["total"]) == pytest.approx(0, abs=1e-6)


def test_a_sample_of_weight_zero_does_not_count_and_weights_have_no_unit() -> None:
    p = [x[0] for x in posteriors(20, 1)]
    plain, padded = PartialInformationDecomposition(), PartialInformationDecomposition()
    plain.update(*p)
    padded.update(*(torch.cat([x, x[:3]]) for x in p), weights=torch.tensor([7.0] * 20 + [0.0] * 3))
    assert float(padded.compute()["synergy"]) == pytest.approx(float(plain.compute()["synergy"]), abs=1e-5)


def test_bad_inputs_are_named() -> None:
    p = [x[0] for x in posteriors(8, 1)]
    metric = PartialInformationDecomposition()
    with pytest.warns(UserWarning, match="before the"), pytest.raises(InputError, match="no samples"):
        metric.compute()
    with pytest.raises(InputError, match=r"weights has shape \(3,\)"):
        metric.update(*p, weights=torch.ones(3))
    with pytest.raises(InputError, match="weights holds a negative"):
        metric.update(*p, weights=-torch.ones(8))
    with pytest.raises(InputError, match="weights is a list"):
        metric.update(*p, weights=[1.0] * 8)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"vision has shape \(5, 3\), joint \(8, 3\)"):
        metric.update(p[0], p[1][:5], p[2])
    with pytest.raises(InputError, match="language sums to 2"):
        metric.update(p[0], p[1], 2 * p[2])
    metric.update(*p)
    metric.update(*(torch.full((4, 2), 0.5) for _ in range(3)))
    with pytest.raises(InputError, match=r"updates of layers and answers \[\(2,\), \(3,\)\]"):
        metric.compute()


def _process(rank: int, store: str, mailbox: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    p = posteriors(14, 2)
    for name, mine in SHARES.items():
        metric = PartialInformationDecomposition()
        if mine[rank] != slice(0, 0):
            metric.update(*(x[:, mine[rank]] for x in p))
        torch.save((metric.compute(), len(metric.stream)), f"{mailbox}/{name}.{rank}")
    torch.distributed.destroy_process_group()


def test_processes_with_unequal_shares_agree_with_one(tmp_path: Path) -> None:
    script = f"import runpy, sys; runpy.run_path({__file__!r})['_process'](int(sys.argv[1]), *sys.argv[2:])"
    environment = {**os.environ, "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen([sys.executable, "-c", script, str(rank), f"{tmp_path}/store", str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    assert [worker.wait(timeout=200) for worker in workers] == [0, 0]
    expected = pid_from_posteriors(*posteriors(14, 2))
    for name, mine in SHARES.items():
        for rank in range(2):
            computed, kept = torch.load(tmp_path / f"{name}.{rank}")
            assert kept == (mine[rank] != slice(0, 0))
            for atom, value in expected.atoms().items():
                torch.testing.assert_close(computed[atom], value, atol=1e-5, rtol=0)


def test_importing_the_room_imports_no_torchmetrics() -> None:
    code = "import sys, fusionscope.pid as p; p.pid_from_joint; sys.exit('torchmetrics' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": SOURCES}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"estimator": "batch"}, "estimator 'batch'"),
        ({"estimator_options": {"tolerence": 0.1}}, "estimator 'exact'.*'tolerence'"),
        ({"estimator_options": {"max_tilt": "0.1"}}, "max_tilt='0.1'"),
        ({"estimator_options": {"tolerance": -1}}, "tolerance=-1"),
    ],
)
def test_a_wrong_estimator_is_refused_before_the_samples_come(arguments, text):
    with pytest.raises(FusionscopeError, match=text):
        PartialInformationDecomposition(**arguments)
