"""A probe runs where the model is: on a device that is pretended, and on a GPU where there is one (device_run.py)."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from fusionscope.pid.estimators.exact import ExactEstimator
from fusionscope.probe import probe

CASES = ("llava:crossed", "llava:learned", "llava:masked", "qwen2_5_vl:crossed", "mllama:crossed", "gemma3:crossed")


@pytest.mark.parametrize(
    "device", ["far", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
)
def test_models_are_probed_and_posteriors_decomposed_where_the_model_is(device):
    """No tensor of the CPU meets one of the device, in any pass, design or decomposition."""
    script = Path(__file__).with_name("device_run.py")
    ran = subprocess.run([sys.executable, script, device, *CASES], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    for name, case in json.loads(ran.stdout).items():
        assert case["layers"] > 1, name
        assert case["decomposed_on"] == [device], name
        assert case["atoms"] < (1e-5 if device == "far" else 1e-3), name
        assert case["accuracy"] == 0, name


def test_where_the_device_has_no_room_the_cpu_decomposes_and_says_so(llava, make_task, monkeypatch):
    task = make_task()
    expected = probe(llava, task)
    decompose, calls = ExactEstimator.decompose, []

    def crowded(self, sample, **kwargs):
        calls.append(sample.conditionals.device)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return decompose(self, sample, **kwargs)

    monkeypatch.setattr(ExactEstimator, "decompose", crowded)
    with pytest.warns(RuntimeWarning, match=r"no room left to decompose posteriors of shape \(\d+, 5, 3, 2\)"):
        found = probe(llava, task)
    assert len(calls) == 2
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one.pid.synergy, other.pid.synergy)


def test_nothing_is_said_where_there_is_room(llava, make_task):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert probe(llava, make_task())[0].pid.synergy.device.type == "cpu"
