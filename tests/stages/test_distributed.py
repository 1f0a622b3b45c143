"""Two processes with half the batch each give what one process gives, uneven and text-only batches included."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fusionscope.cli import main
from fusionscope.records import ATOMS, RecordFile
from fusionscope.stages.checkpoint import read

SCRIPT = Path(__file__).with_name("ddp_run.py")
DEEPSPEED = pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")


def start(directory: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    directory.mkdir()
    model, *rest = map(str, arguments)
    # a seed that another test gave Lightning would be taken by runs of several processes alone
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PL_")}
    environment |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), model, str(directory), *rest],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )


def run(directory: Path, *arguments: object) -> tuple[list[float], dict[str, torch.Tensor]]:
    done = start(directory, *arguments)
    assert done.returncode == 0, done.stderr[-4000:]
    state = read(directory / "last.ckpt", trust=True)["state_dict"]
    return json.loads((directory / "losses.json").read_text()), state


def records(directory: Path) -> dict[tuple[int, str, str, int], torch.Tensor]:
    """The atoms of each probe, written once though two processes took part."""
    found = RecordFile(directory / "records.jsonl").read()
    places = [(record.step, record.task, record.law, record.layer) for record in found]
    assert len(set(places)) == len(places)
    atoms = [torch.tensor([getattr(record, atom) for atom in ATOMS]) for record in found]
    return dict(zip(places, atoms, strict=True))


def assert_same(found: dict, expected: dict, *, atol: float, rtol: float = 0.0) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name].float(), value.float(), atol=atol, rtol=rtol)


@pytest.fixture(scope="module")
def alone(tiny, tmp_path_factory):
    """21 samples in global batches of 4: the last has one sample, so a second process has none of its own."""
    directory = tmp_path_factory.mktemp("alone") / "one"
    return directory, *run(directory, tiny, "auto", 1, 4, "lora", 21)


def test_two_processes_equal_one(tiny, alone, tmp_path):
    directory, one, one_state = alone
    assert len(one) == 6
    one_pid = records(directory)
    assert {step for step, *_ in one_pid} == {3, 6}
    assert {task for _, task, *_ in one_pid} == {"sandbox/synergy", "sandbox/redundant"}
    exported = load_file(directory / "exported" / "model.safetensors")
    for strategy in ("ddp", "fsdp2"):
        two, two_state = run(tmp_path / strategy, tiny, strategy, 2, 2, "lora", 21)
        torch.testing.assert_close(torch.tensor(two), torch.tensor(one), atol=1e-5, rtol=0)
        assert_same(records(tmp_path / strategy), one_pid, atol=1e-4)
        assert_same(two_state, one_state, atol=1e-4, rtol=1e-4)
        assert_same(load_file(tmp_path / strategy / "exported" / "model.safetensors"), exported, atol=1e-3, rtol=1e-3)


def test_frozen_bfloat16_and_trained_float32_are_sharded_together_and_resume(tiny, alone, tmp_path):
    """Rounding alone tells it from the run in float32."""
    two, two_state = run(tmp_path / "two", tiny, "fsdp2", 2, 2, "bfloat16", 21)
    torch.testing.assert_close(torch.tensor(two), torch.tensor(alone[1]), atol=1e-2, rtol=0)
    assert {value.dtype for value in two_state.values()} == {torch.float32}
    two_pid = records(tmp_path / "two")
    assert_same(two_pid, records(alone[0]), atol=1e-2)
    exported = load_file(tmp_path / "two" / "exported" / "model.safetensors")
    assert exported["language_model.lm_head.weight"].dtype == torch.bfloat16
    resumed, state = run(tmp_path / "resumed", tiny, "fsdp2", 2, 2, "bfloat16", 21, tmp_path / "two" / "middle.ckpt")
    assert resumed == two[2:]
    later = {place: atoms for place, atoms in two_pid.items() if place[0] > 2}
    assert_same(records(tmp_path / "resumed"), later, atol=0)
    assert_same(state, two_state, atol=0)


@DEEPSPEED
@pytest.mark.parametrize(("kind", "strategy"), [("lora", "deepspeed2"), ("sgd", "deepspeed1"), ("sgd", "deepspeed2")])
def test_two_processes_of_deepspeed_equal_one(kind, strategy, tiny, tmp_path):
    """Adam with clipping, and gradient descent, whose update shows a gradient of the wrong size."""
    one, one_state = run(tmp_path / "one", tiny, "auto", 1, 4, kind, 21)
    two, two_state = run(tmp_path / "two", tiny, strategy, 2, 2, kind, 21)
    torch.testing.assert_close(torch.tensor(two), torch.tensor(one), atol=1e-5, rtol=0)
    assert_same(two_state, one_state, atol=1e-5, rtol=1e-5)
    assert_same(records(tmp_path / "two"), records(tmp_path / "one"), atol=1e-5)
    resumed, state = run(tmp_path / "resumed", tiny, strategy, 2, 2, kind, 21, tmp_path / "two" / "middle.ckpt")
    assert resumed == two[2:]
    assert_same(state, two_state, atol=0)


@DEEPSPEED
def test_deepspeed_keeps_float32_weights_beside_bfloat16_and_exports_from_its_shards(tiny, alone, tmp_path):
    two, state = run(tmp_path / "two", tiny, "deepspeed2", 2, 2, "bfloat16", 21)
    torch.testing.assert_close(torch.tensor(two), torch.tensor(alone[1]), atol=1e-2, rtol=0)
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert main(["export", str(tmp_path / "two" / "last.ckpt"), str(tmp_path / "later"), "--trust"]) == 0
    later = load_file(tmp_path / "later" / "model.safetensors")
    assert_same(later, load_file(tmp_path / "two" / "exported" / "model.safetensors"), atol=1e-2, rtol=1e-2)


@DEEPSPEED
def test_an_uneven_accumulation_is_refused_before_deepspeed_trains(tiny, tmp_path):
    done = start(tmp_path / "uneven", tiny, "deepspeed2", 2, 2, "lora", 20)
    assert done.returncode != 0
    assert "5 batches an epoch with trainer.accumulate_grad_batches=2 under DeepSpeed" in done.stderr
