"""Ranks that share tasks fail together: a rank that waits for one that is gone says nothing for half an hour."""

import pytest

from fusionscope.callbacks import ranks
from fusionscope.errors import FusionscopeError, InputError


@pytest.fixture
def beside(monkeypatch):
    """``beside(other)``: this is rank 0 of two, and rank 1 gives ``other``."""

    def two(other):
        def all_gather_object(parts, mine):
            parts[:] = [mine, other]

        monkeypatch.setattr(ranks, "_several", lambda: True)
        monkeypatch.setattr(ranks.dist, "get_world_size", lambda: 2)
        monkeypatch.setattr(ranks.dist, "get_rank", lambda: 0)
        monkeypatch.setattr(ranks.dist, "all_gather_object", all_gather_object)

    return two


def fails():
    raise InputError("out of memory with one sequence at a time")


def test_results_of_all_ranks_come_in_order(beside):
    beside((["b"], ""))
    assert ranks.gather(lambda: ["a"], sharded=False) == ["a", "b"]
    assert ranks.own_share([1, 2, 3], sharded=False) == [1, 3]


def test_another_ranks_failure_is_everybodys(beside):
    beside(([], "InputError: out of memory"))
    with pytest.raises(FusionscopeError, match="failed on rank 1: InputError: out of memory"):
        ranks.gather(lambda: ["a"], sharded=False)


def test_a_failure_is_told_to_the_others_before_it_is_raised(beside, monkeypatch):
    told = []
    beside((["b"], ""))
    monkeypatch.setattr(ranks.dist, "all_gather_object", lambda parts, mine: told.append(mine))
    with pytest.raises(InputError, match="out of memory with one"):
        ranks.gather(fails, sharded=False)
    assert told == [([], "InputError: out of memory with one sequence at a time")]
    with pytest.raises(InputError):
        ranks.gather(fails, sharded=True)
    assert len(told) == 1, "with sharded weights all ranks fail in the same pass"
