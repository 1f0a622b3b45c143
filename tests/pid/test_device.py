"""The same numbers on every device: asked rarely, as a GPU is, and on a GPU where there is one."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fusionscope.pid import (
    BatchEstimator,
    GaussianPID,
    PartialInformationDecomposition,
    device,
    gates,
    pid_crossed,
    pid_from_joint,
    pid_from_posteriors,
)
from fusionscope.pid.tilt import tilt

IS_REMOTE = device.is_remote
# What torch.use_deterministic_algorithms refuses on a GPU, of what the room could call (its documentation).
REFUSED = {"cumsum", "histc", "kthvalue", "put_", "nll_loss2d", "bincount", "grid_sampler_2d"}
ELSEWHERE = [
    "asked rarely",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")),
]


@pytest.fixture(params=ELSEWHERE)
def elsewhere(request, monkeypatch):
    """Where to put tensors: a GPU, or the CPU with its iterations run as on one."""
    if request.param == "asked rarely":
        monkeypatch.setattr(device, "is_remote", lambda x: True)
        return "cpu"
    return request.param


@pytest.fixture
def here(monkeypatch):
    """Calls a function as if nothing were elsewhere, for the numbers to compare with."""

    def run(function, *args, **kwargs):
        with monkeypatch.context() as inner:
            inner.setattr(device, "is_remote", IS_REMOTE)
            return function(*args, **kwargs)

    return run


def joints(a, b, k, kind):
    g = torch.Generator().manual_seed(a + 10 * b + 100 * k)
    draw = torch.rand if kind == "random" else torch.randn
    p = draw(16, a, b, k, generator=g, dtype=torch.float64)
    if kind == "sharp":
        p = torch.softmax(4 * p, -1)
    if kind == "zeros":
        p = p.abs() * (torch.rand(p.shape, generator=g) > 0.5) + 1e-3 * (p == p.amax((1, 2, 3), keepdim=True))
    return p / p.sum((1, 2, 3), keepdim=True)


def posteriors(n, k, scale):
    """Samples whose three posteriors have one marginal of the answer."""
    g = torch.Generator().manual_seed(n)
    w, flat = (torch.full((1, m), 1.0 / m, dtype=torch.float64) for m in (n, k))
    first, second = torch.randn(2, n, k, generator=g, dtype=torch.float64)
    logits = scale * first, scale * second, scale * (first + second)
    vision, language, joint = (tilt(torch.softmax(x, -1)[None], w, flat)[0][0] for x in logits)
    return joint, vision, language


def assert_alike(found, expected, atol):
    for name, bits in expected.atoms().items():
        assert (found.atoms()[name].cpu() - bits).abs().max() <= atol, name
    for name, bits in expected.standard_errors.items():
        assert (found.standard_errors[name].cpu() - bits).abs().max() <= 1e2 * atol, name


@pytest.mark.parametrize("kind", ["random", "sharp", "zeros"])
@pytest.mark.parametrize("shape", [(4, 4, 2), (4, 4, 4), (20, 20, 4), (3, 7, 5)])
def test_exact_atoms_agree_to_1e_9_at_a_gap_of_1e_10(shape, kind, elsewhere, here):
    p = joints(*shape, kind)
    expected = here(pid_from_joint, p, tolerance=1e-10)
    found = pid_from_joint(p.to(elsewhere), tolerance=1e-10)
    assert bool(expected.converged.all())
    assert bool(found.converged.all())
    assert_alike(found, expected, 1e-9)


@pytest.mark.parametrize("gate", list(gates.zoo()), ids=lambda gate: gate.name)
def test_gates_agree(gate, elsewhere, here):
    expected = here(pid_from_joint, gate.joint, tolerance=1e-10)
    assert_alike(pid_from_joint(gate.joint.to(elsewhere), tolerance=1e-10), expected, 1e-9)


def test_crossed_designs_agree_with_their_standard_errors(elsewhere, here):
    g = torch.Generator().manual_seed(0)
    p = torch.softmax(2 * torch.randn(3, 24, 20, 4, generator=g, dtype=torch.float64), -1)
    expected = here(pid_crossed, p, bias_correction=False, standard_errors=True, tolerance=1e-10)
    found = pid_crossed(p.to(elsewhere), bias_correction=False, standard_errors=True, tolerance=1e-10)
    assert_alike(found, expected, 1e-9)


@pytest.mark.parametrize(("n", "k", "atol"), [(400, 2, 1e-9), (50, 4, 1e-6), (120, 4, 0.02)])
def test_samples_agree_within_their_tolerance(n, k, atol, elsewhere, here):
    args = posteriors(n, k, 1.5)
    expected = here(pid_from_posteriors, *args)
    found = pid_from_posteriors(*(x.to(elsewhere) for x in args))
    assert_alike(found, expected, atol)


def test_the_metric_keeps_its_state_on_its_device(elsewhere, here):
    args = posteriors(60, 3, 1.0)
    expected = here(pid_from_posteriors, *args)
    metric = PartialInformationDecomposition().to(elsewhere)
    for part in zip(*(x.to(elsewhere).split(25) for x in args), strict=True):
        metric.update(*part)
    assert abs(float(metric.compute()["synergy"]) - float(expected.synergy)) <= 2e-6


def test_gaussian_atoms_agree(elsewhere, here):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(500, 9, generator=g, dtype=torch.float64) @ torch.randn(9, 9, generator=g, dtype=torch.float64)
    args = x[:, :3], x[:, 3:6], x[:, 6:]
    expected = here(GaussianPID().estimate, *args)
    assert_alike(GaussianPID().estimate(*(part.to(elsewhere) for part in args)), expected, 1e-6)


def test_batch_estimates_agree(elsewhere, here):
    joint, vision, language = posteriors(80, 3, 1.5)
    estimator = BatchEstimator(epochs=2, batch_size=40, plug_in=False)
    args = vision, language, joint, vision, language
    expected = here(estimator.estimate, *args)
    assert_alike(estimator.estimate(*(x.to(elsewhere) for x in args)), expected, 1e-3)


class Calls(TorchDispatchMode):
    """Counts the operations that are called on floating-point numbers."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if isinstance(args[0], torch.Tensor) and args[0].is_floating_point():
            self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_nothing_is_called_that_deterministic_algorithms_refuse_on_a_gpu():
    """``Trainer(deterministic=True)`` is for the model; what measures it must not stop it."""
    samples, p = posteriors(100, 3, 1.0), joints(6, 6, 3, "random")
    with Calls() as calls:
        pid_from_joint(p)
        for k in (2, 3):
            grid = torch.softmax(torch.randn(2, 8, 8, k, dtype=torch.float64, requires_grad=True), -1)
            pid_crossed(grid, standard_errors=True).synergy.sum().backward()
        pid_from_posteriors(*samples, standard_errors=True)
        pid_from_posteriors(*posteriors(80, 2, 1.0), standard_errors=True)
        GaussianPID().estimate(*torch.randn(3, 50, 2, dtype=torch.float64))
    assert {"sort", "linalg_cholesky_ex"} <= calls.names
    assert not calls.names & REFUSED
