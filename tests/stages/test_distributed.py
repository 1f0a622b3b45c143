"""Two processes with half the batch each give what one process gives, uneven and text-only batches included."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("ddp_run.py")


def run(directory: Path, *arguments: object) -> tuple[list[float], dict[str, torch.Tensor]]:
    directory.mkdir()
    model, *rest = map(str, arguments)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), model, str(directory), *rest],
        capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    state = torch.load(directory / "last.ckpt", weights_only=True)["state_dict"]
    return json.loads((directory / "losses.json").read_text()), state


def test_two_processes_equal_one(tiny, tmp_path):
    """21 samples in global batches of 4: the last has one sample, so the second process has none of its own."""
    one, one_state = run(tmp_path / "one", tiny, "auto", 1, 4, "lora", 21)
    assert len(one) == 6
    for strategy in ("ddp", "fsdp2"):
        two, two_state = run(tmp_path / strategy, tiny, strategy, 2, 2, "lora", 21)
        torch.testing.assert_close(torch.tensor(two), torch.tensor(one), atol=1e-5, rtol=0)
        assert set(one_state) == set(two_state)
        for name, value in one_state.items():
            torch.testing.assert_close(two_state[name], value, atol=1e-4, rtol=1e-4)
    exported = [load_file(tmp_path / name / "exported" / "model.safetensors") for name in ("one", "ddp", "fsdp2")]
    for other in exported[1:]:
        assert set(other) == set(exported[0])
        for name, value in exported[0].items():
            torch.testing.assert_close(other[name], value, atol=1e-3, rtol=1e-3)
    middle = tmp_path / "fsdp2" / "middle.ckpt"
    resumed, state = run(tmp_path / "resumed", tiny, "fsdp2", 2, 2, "lora", 21, middle)
    assert resumed == two[2:]
    assert all(torch.equal(value, state[name]) for name, value in two_state.items())
