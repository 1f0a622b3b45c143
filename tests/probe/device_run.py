"""Probes tiny models on the CPU and on another device, and prints how far apart the atoms are, as JSON.

    python tests/probe/device_run.py far|cuda MODEL:DESIGN ...

By model and design: the largest difference of an atom and of an accuracy, and the devices that posteriors were
decomposed on.
"""

import contextlib
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fusionscope.lvlm import LVLM, miniature
from fusionscope.pid.estimators.exact import ExactEstimator
from fusionscope.probe import ProbeSpec, probe
from fusionscope.tasks import HeldOutTask, Question, uniform_weights

sys.path.insert(0, str(Path(__file__).parents[1]))

from far_device import FarDevice


def noise_task(n_images=5, candidates=("A", "B", "C")):
    """Random pictures under three questions."""
    g = np.random.default_rng(0)
    texts = "Is it red?", "Is the large thing on the left of it a circle?", "Is it?"
    truth = torch.arange(n_images * len(texts)).view(n_images, len(texts)) % len(candidates)
    return HeldOutTask(
        name="noise",
        images=[Image.fromarray(g.integers(0, 255, (40, 48, 3), dtype=np.uint8)) for _ in range(n_images)],
        image_ids=[f"{i}.png" for i in range(n_images)],
        questions=[Question(text=text, candidates=candidates) for text in texts],
        answers=candidates,
        pairs=torch.cartesian_prod(torch.arange(n_images), torch.arange(len(texts))),
        pair_answers=truth.flatten(),
        crossable=True,
        truth=truth,
        pair_weights={"uniform": uniform_weights(n_images, len(texts))},
    )


def moved(model, device):
    """As ``model.to(device)``, which cannot make another kind of tensor of a parameter."""
    for module in model.modules():
        for name, p in module._parameters.items():
            if p is not None:
                module._parameters[name] = torch.nn.Parameter(p.detach().to(device), requires_grad=p.requires_grad)
        for name, b in module._buffers.items():
            if b is not None:
                module._buffers[name] = b.to(device)


@contextlib.contextmanager
def watched(devices):
    """Notes where posteriors lie that are decomposed."""
    decompose = ExactEstimator.decompose

    def noted(self, sample, **kwargs):
        devices.add(next(value for value in vars(sample).values() if isinstance(value, torch.Tensor)).device.type)
        return decompose(self, sample, **kwargs)

    ExactEstimator.decompose = noted
    yield
    ExactEstimator.decompose = decompose


def compare(kind, design, device):
    lvlm, task = LVLM.wrap(*miniature(kind)), noise_task()
    lvlm.model.set_attn_implementation("eager")  # fused kernels are chosen by device: none knows a pretended one
    expected = probe(lvlm, task, ProbeSpec(design=design))
    devices = set()
    with FarDevice() if device == "far" else contextlib.nullcontext(), watched(devices):
        moved(lvlm.model, device)
        found = probe(lvlm, task, ProbeSpec(design=design))
    off = {"atoms": 0.0, "accuracy": 0.0}
    for one, other in zip(expected, found, strict=True):
        differences = [abs(float(bits - other.pid.atoms()[name])) for name, bits in one.pid.atoms().items()]
        off["atoms"] = max(off["atoms"], *differences)
        off["accuracy"] = max(off["accuracy"], abs(one.accuracy - other.accuracy))
    return {**off, "decomposed_on": sorted(devices), "layers": len(found)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(json.dumps({case: compare(*case.split(":"), sys.argv[1]) for case in sys.argv[2:]}))
