"""The same numbers on every device: on one that is pretended, and on a GPU where there is one (device_run.py).

The pretended one refuses what a GPU would (tensors of two devices in one operation, a generator of the CPU) and counts
what makes the CPU wait.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fusionscope.pid import GaussianPID, pid_crossed, pid_from_joint, pid_from_posteriors

# What torch.use_deterministic_algorithms refuses on a GPU, of what the room could call (its documentation).
REFUSED = {"cumsum", "histc", "kthvalue", "put_", "nll_loss2d", "bincount", "grid_sampler_2d"}
LOOSE = {  # bits: what the tolerance of the case leaves open
    "samples": 1e-6,
    "samples, 80": 0.01,
    "intervals": 1e-4,
    "resampled": 1e-3,
    "local": 1e-2,
    "metric": 1e-6,
    "Gaussian": 1e-6,
    "BATCH": 0.02,
}
no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.fixture(scope="module", params=["far", pytest.param("cuda", marks=no_gpu)])
def compared(request):
    script = Path(__file__).with_name("device_run.py")
    ran = subprocess.run([sys.executable, script, request.param], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout)


def test_atoms_agree_to_1e_9_at_a_gap_of_1e_10(compared):
    exact = {name: case for name, case in compared.items() if name.startswith(("joint", "crossed", "gradients"))}
    assert len(exact) > 15
    for name, case in exact.items():
        assert case["open"] == 0, name
        assert case["off"] <= 1e-9, name
        assert case["error_off"] <= 1e-7, name


def test_everything_else_agrees_within_its_tolerance(compared):
    rest = {name: case for name, case in compared.items() if not name.startswith(("joint", "crossed", "gradients"))}
    assert len(rest) > 8
    for name, case in rest.items():
        allowed = max((prefix for prefix in LOOSE if name.startswith(prefix)), key=len)
        assert case["off"] <= LOOSE[allowed], name
        assert case["error_off"] <= LOOSE[allowed], name


def test_no_value_leaves_the_device_within_a_step_of_a_solver(compared):
    for name, case in compared.items():
        assert case["waits_in_steps"] == 0, name
    assert compared["joint, 20 x 20 x 4"]["steps"] > 5
    assert compared["samples, 80, K=3"]["steps"] > 20


class Calls(TorchDispatchMode):
    """Names of the operations that are called on floating-point numbers."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if isinstance(args[0], torch.Tensor) and args[0].is_floating_point():
            self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_nothing_is_called_that_deterministic_algorithms_refuse_on_a_gpu():
    """``Trainer(deterministic=True)`` is for the model; what measures it must not stop it."""
    g = torch.Generator().manual_seed(0)
    p = torch.rand(6, 6, 3, generator=g, dtype=torch.float64)
    with Calls() as calls:
        pid_from_joint(p / p.sum())
        for k in (2, 3):
            grid = torch.softmax(torch.randn(2, 8, 8, k, generator=g, dtype=torch.float64).requires_grad_(), -1)
            pid_crossed(grid, standard_errors=True).synergy.sum().backward()
            samples = grid.detach().flatten(1, 2).expand(3, -1, -1, -1)
            pid_from_posteriors(*samples, standard_errors=True)
            pid_from_posteriors(*samples.flatten(1, 2), standard_errors=True)  # 128 of them: merged
        GaussianPID().estimate(*torch.randn(3, 50, 2, generator=g, dtype=torch.float64))
    assert {"sort", "linalg_cholesky_ex", "linalg_inv_ex"} <= calls.names
    assert not calls.names & REFUSED


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_default_dtype_changes_nothing(dtype):
    """A trainer's ``bf16-true`` sets one, and probes run under it."""
    g = torch.Generator().manual_seed(0)
    grid = torch.softmax(torch.randn(2, 8, 9, 3, generator=g, dtype=torch.float64), -1)
    few, many = grid[:, :, 0].expand(3, -1, -1, -1), grid.flatten(1, 2).expand(3, -1, -1, -1)

    def results():
        yield pid_crossed(grid, standard_errors=True)
        yield pid_from_posteriors(*few, standard_errors=True)
        yield pid_from_posteriors(*many, standard_errors=True)
        yield pid_from_posteriors(*torch.softmax(5 * grid.flatten(1, 2), -1)[None].expand(3, -1, -1, -1))

    expected = list(results())
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        again = list(results())
    finally:
        torch.set_default_dtype(default)
    for before, after in zip(expected, again, strict=True):
        for name, bits in {**before.atoms(), **before.standard_errors, **before.diagnostics}.items():
            now = {**after.atoms(), **after.standard_errors, **after.diagnostics}[name]
            assert torch.equal(bits, now), name
