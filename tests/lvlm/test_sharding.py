"""Every way of spreading weights that makes a pass a joint affair of all ranks is noticed."""

import pytest
import torch
from torch import nn

from fusionscope.lvlm.sharding import is_sharded


class FullyShardedDataParallel(nn.Sequential):
    """Stands for FSDP1, which takes a process group to be built."""


def zero_3():
    model = nn.Linear(2, 2)
    model.weight.ds_id = 0
    return model


@pytest.mark.parametrize("spread", [FullyShardedDataParallel(nn.Linear(2, 2)), nn.Sequential(zero_3())])
def test_spread_weights_are_noticed(spread):
    assert is_sharded(spread)


def test_whole_weights_are_not():
    assert not is_sharded(nn.Sequential(nn.Linear(2, 2), torch.nn.ReLU()))
