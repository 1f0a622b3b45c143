"""Two processes with half the batch each give what one process gives, uneven and text-only batches included."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from fusionscope.records import ATOMS, RecordFile

SCRIPT = Path(__file__).with_name("ddp_run.py")


def run(directory: Path, *arguments: object) -> tuple[list[float], dict[str, torch.Tensor]]:
    directory.mkdir()
    model, *rest = map(str, arguments)
    # a seed that another test gave Lightning would be taken by runs of several processes alone
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PL_")}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), model, str(directory), *rest],
        capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    state = torch.load(directory / "last.ckpt", weights_only=True)["state_dict"]
    return json.loads((directory / "losses.json").read_text()), state


def records(directory: Path) -> dict[tuple[int, str, str, int], torch.Tensor]:
    """The atoms of each probe, written once though two processes took part."""
    found = RecordFile(directory / "records.jsonl").read()
    places = [(record.step, record.task, record.weights, record.layer) for record in found]
    assert len(set(places)) == len(places)
    atoms = [torch.tensor([getattr(record, atom) for atom in ATOMS]) for record in found]
    return dict(zip(places, atoms, strict=True))


def test_two_processes_equal_one(tiny, tmp_path):
    """21 samples in global batches of 4: the last has one sample, so the second process has none of its own."""
    one, one_state = run(tmp_path / "one", tiny, "auto", 1, 4, "lora", 21)
    assert len(one) == 6
    one_pid = records(tmp_path / "one")
    assert {step for step, *_ in one_pid} == {3, 6}
    assert {task for _, task, *_ in one_pid} == {"sandbox/synergy", "sandbox/redundant"}
    for strategy in ("ddp", "fsdp2"):
        two, two_state = run(tmp_path / strategy, tiny, strategy, 2, 2, "lora", 21)
        torch.testing.assert_close(torch.tensor(two), torch.tensor(one), atol=1e-5, rtol=0)
        two_pid = records(tmp_path / strategy)
        assert set(two_pid) == set(one_pid)
        for place, atoms in one_pid.items():
            torch.testing.assert_close(two_pid[place], atoms, atol=1e-4, rtol=0)
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
    later = {place: atoms for place, atoms in two_pid.items() if place[0] > 2}
    resumed_pid = records(tmp_path / "resumed")
    assert set(resumed_pid) == set(later)
    assert all(torch.equal(atoms, later[place]) for place, atoms in resumed_pid.items())
    assert all(torch.equal(value, state[name]) for name, value in two_state.items())
