"""Decomposes the same inputs on the CPU and on another device, and prints how far apart the numbers are, as JSON.

    python tests/pid/device_run.py far|cuda

By case, the largest difference of an atom and of a standard error; for the pretended device, how often the CPU waited
for it, and how often it did within the steps of solvers.
"""

import contextlib
import json
import sys
import warnings
from pathlib import Path

import torch

from fusionscope.pid import (
    BatchEstimator,
    GaussianPID,
    PartialInformationDecomposition,
    bootstrap_crossed,
    confidence_intervals,
    gates,
    local_contributions,
    permutation_null,
    pid_crossed,
    pid_from_joint,
    pid_from_posteriors,
    subsampling_interval,
)
from fusionscope.pid.tilt import tilt
from fusionscope.pid.union import interior_point, points_path

sys.path.insert(0, str(Path(__file__).parents[1]))

from far_device import FarDevice


def joints(kind, a, b, k):
    g = torch.Generator().manual_seed(a + 10 * b + 100 * k)
    p = torch.rand(16, a, b, k, generator=g, dtype=torch.float64)
    if kind == "sharp":
        p = torch.softmax(12 * p, -1)
    if kind == "zeros":
        p = torch.where(torch.rand(p.shape, generator=g) > 0.5, p, 0.0)
    return p / p.sum((1, 2, 3), keepdim=True)


def samples(n, k, scale=1.5):
    """Samples whose three posteriors have one marginal of the answer."""
    g = torch.Generator().manual_seed(n)
    w, flat = (torch.full((1, m), 1.0 / m, dtype=torch.float64) for m in (n, k))
    first, second = torch.randn(2, n, k, generator=g, dtype=torch.float64)
    logits = scale * (first + second), scale * first, scale * second
    return [tilt(torch.softmax(x, -1)[None], w, flat)[0][0] for x in logits]


def grid(a, b, k):
    g = torch.Generator().manual_seed(k)
    return torch.softmax(2 * torch.randn(3, a, b, k, generator=g, dtype=torch.float64), -1)


def tight(p):
    return pid_from_joint(p, tolerance=1e-10)


def with_errors(p):
    return pid_crossed(p, standard_errors=True, bias_correction=False, tolerance=1e-10)


def intervals(p):
    result = pid_crossed(p, standard_errors=True)
    return {name: high - low for name, (low, high) in confidence_intervals(result).items()}


def gradients(p):
    p = p.clone().requires_grad_()
    pid_crossed(p, tolerance=1e-10).synergy.sum().backward()
    return {"gradient": p.grad}


def streamed(joint, vision, language):
    metric = PartialInformationDecomposition().to(joint.device)
    for part in zip(joint.split(25), vision.split(25), language.split(25), strict=True):
        metric.update(*part)
    return {name: x for name, x in metric.compute().items() if name != "converged"}


def resampled(p):
    ends = subsampling_interval(p, n_replicates=3)
    nulls = permutation_null(p, n_replicates=3)
    return {"subsampling": ends["synergy"][0], **bootstrap_crossed(p, n_replicates=3), **nulls}


def trained(joint, vision, language):
    return BatchEstimator(epochs=2, batch_size=40).estimate(vision, language, joint, vision, language, seeds=(0, 1))


def erring(*posteriors):
    return pid_from_posteriors(*posteriors, standard_errors=True, max_tilt=0.9)


def tilted(*posteriors):
    return pid_from_posteriors(*posteriors, max_tilt=0.9)


def faithful(*posteriors):
    return pid_from_posteriors(*posteriors, estimator="faithful")


def cases():
    """By name: a function and what it takes."""
    for kind in ("random", "sharp", "zeros"):
        for shape in ((4, 4, 2), (4, 4, 4), (9, 8, 4)):
            yield f"joint, {kind}, {shape}", tight, [joints(kind, *shape)]
    yield "joint, 20 x 20 x 4", tight, [joints("random", 20, 20, 4)]
    yield "joint, 3 x 3 x 12", tight, [joints("zeros", 3, 3, 12)]
    for name in ("AND", "RDNXOR", "SUM", "COPY"):
        yield f"joint, gate {name}", tight, [gates.gate(name).joint]
    for k in (2, 4):
        yield f"crossed, K={k}", with_errors, [grid(20, 16, k)]
    yield "gradients", gradients, [grid(6, 8, 4)]
    yield "samples, 300, K=2", erring, samples(300, 2)
    yield "samples, 30, K=4", erring, samples(30, 4)
    yield "samples, 80, K=3", erring, samples(80, 3)
    yield "samples, inconsistent", tilted, list(torch.softmax(grid(50, 1, 4)[:, :, 0], -1))
    yield "samples, faithful", faithful, list(grid(50, 1, 4)[:, :, 0])
    yield "intervals", intervals, [grid(12, 12, 2)]
    yield "resampled", resampled, [grid(8, 8, 3)]
    yield "local", local_contributions, [grid(8, 8, 3)]
    yield "metric", streamed, samples(60, 3)
    g = torch.Generator().manual_seed(0)
    yield "Gaussian", GaussianPID().estimate, list(torch.randn(3, 80, 4, generator=g, dtype=torch.float64))
    yield "BATCH", trained, samples(80, 3)


def numbers(found):
    """Atoms, standard errors and diagnostics of a result, or what a dictionary holds, by name."""
    if isinstance(found, dict):
        return found, {}
    return found.atoms(), {**found.standard_errors}


def largest(one, other):
    """The largest difference of two dictionaries; the names are those of both, and the second lies elsewhere."""
    assert all(x.device.type != "cpu" for x in other.values()), "a number was left on the CPU"
    return max((float((one[name] - other[name].cpu()).abs().max()) for name in one), default=0.0)


@contextlib.contextmanager
def _watched(device, counts):
    """Counts how often the CPU waits for a pretended device within a step of a solver."""

    def counting(step):
        def counted(*args):
            before = device.waits.total()
            result = step(*args)
            counts.append(device.waits.total() - before)
            return result

        return counted

    steps = [(interior_point, "_newton_step"), (points_path._Path, "step")]
    originals = [getattr(where, name) for where, name in steps]
    for (where, name), step in zip(steps, originals, strict=True):
        setattr(where, name, counting(step))
    yield
    for (where, name), step in zip(steps, originals, strict=True):
        setattr(where, name, step)


def compare(function, args, name):
    expected = function(*args)
    pretended = FarDevice()
    inside = []
    with pretended if name == "far" else contextlib.nullcontext(), _watched(pretended, inside):
        result = function(*(x.to(name) for x in args))
        off = [largest(ours, theirs) for ours, theirs in zip(numbers(expected), numbers(result), strict=True)]
        open_ = 0 if isinstance(result, dict) else int((~result.converged).sum())
    steps = {"steps": len(inside), "waits_in_steps": sum(inside)}
    return {"off": off[0], "error_off": off[1], "open": open_, "waits": pretended.waits.total(), **steps}


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(json.dumps({case: compare(function, args, sys.argv[1]) for case, function, args in cases()}))
