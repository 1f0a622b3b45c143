"""Collectives are the identity alone, agree between processes, and fail together; sharded weights are noticed."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from fusionscope import parallel
from fusionscope.errors import FusionscopeError, InputError


def test_alone_every_collective_is_the_identity():
    parallel.barrier()
    assert not parallel.is_distributed()
    assert (parallel.rank(), parallel.world_size(), parallel.is_main()) == (0, 1, True)
    assert parallel.all_gather("a") == ["a"]
    assert parallel.broadcast("a") == "a"
    assert parallel.share_work([1, 2, 3], sharded=False) == [1, 2, 3]
    assert parallel.gather_work(lambda: ["a"], sharded=False) == ["a"]


TWO = """
import sys
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from fusionscope import parallel
from fusionscope.errors import FusionscopeError, InputError

me = int(sys.argv[2])
torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=me, world_size=2)
assert (parallel.rank(), parallel.world_size(), parallel.is_main()) == (me, 2, me == 0)
assert parallel.all_gather(me * 10) == [0, 10]
assert parallel.broadcast("ab"[me], source=1) == "b"
assert parallel.share_work([1, 2, 3], sharded=False) == ([1, 3], [2])[me]
assert parallel.share_work([1, 2, 3], sharded=True) == [1, 2, 3]
assert parallel.gather_work(lambda: [me], sharded=False) == [0, 1], "in the order of ranks"

def work():
    if me == 1:
        raise InputError("out of memory with one sequence at a time")
    return [0]

try:
    parallel.gather_work(work, sharded=False)
    raise SystemExit("the failure of one rank is everybody's")
except FusionscopeError as error:
    expected = ("the work of rank 1 failed: InputError: out of memory", "out of memory")[me]
    assert str(error).startswith(expected), error

torch.manual_seed(0)
model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 4), nn.Linear(4, 2))
whole = {name: value.clone() for name, value in model.state_dict().items()}
mesh = init_device_mesh("cpu", (2,))
for _ in range(2):
    parallel.shard(model, mesh, block=nn.Linear)
assert parallel.is_sharded(model)
assert parallel.local(model[0].weight).shape == (3, 4)
again = parallel.gathered(model.state_dict().items(), keep=me == 0)
assert again.keys() == (whole.keys() if me == 0 else set())
assert all(torch.equal(value, whole[name]) for name, value in again.items())
with parallel.outer_weights(model):
    assert model[0](torch.tensor([5])).shape == (1, 4), "called without its root"
assert parallel.local(model[0].weight).shape == (3, 4), "sharded again"
parallel.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a file needs a POSIX system")
def test_two_processes_agree(tmp_path):
    commands = [[sys.executable, "-c", TWO, str(tmp_path / "meet"), str(rank)] for rank in range(2)]
    ranks = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in ranks:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err[-2000:]


def test_a_failure_in_one_process_is_raised_as_it_is():
    def work():
        raise InputError("out of memory")

    for sharded in (False, True):
        with pytest.raises(InputError, match="out of memory"):
            parallel.gather_work(work, sharded=sharded)
    assert issubclass(InputError, FusionscopeError)


class Fsdp1(FullyShardedDataParallel):
    """FSDP of the first kind takes a process group to be built, and none to be recognised."""

    def __init__(self, module):
        nn.Module.__init__(self)
        self.inner = module


def zero_3():
    model = nn.Linear(2, 2)
    model.weight.ds_id = 0
    return model


def test_sharded_weights_are_noticed():
    assert parallel.is_sharded(nn.Sequential(zero_3()))
    assert not parallel.is_sharded(nn.Sequential(nn.Linear(2, 2), torch.nn.ReLU()))
    fsdp1 = nn.Sequential()
    fsdp1._modules["wrapped"] = Fsdp1(nn.Linear(2, 2))
    assert parallel.is_sharded(fsdp1)


def test_importing_it_costs_no_trainer_and_no_model_library():
    code = (
        "import sys, fusionscope.parallel;"
        "heavy = ('lightning', 'transformers', 'torch.distributed.fsdp', 'torch.distributed.tensor');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
