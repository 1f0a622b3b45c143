"""What is decomposed: in float64 whatever the trainer's precision, without layers that are not finite."""

import math
from dataclasses import replace

import pytest
import torch

from fusionscope.probe import ProbeSpec, posteriors, results, to_record
from fusionscope.probe.engine.memory import out_of_memory


@pytest.mark.parametrize("design", ["crossed", "learned", "masked"])
def test_the_trainers_precision_does_not_reach_the_decomposition(llava, make_task, design):
    """Lightning's 'bf16-true' makes bfloat16 the default dtype around every probe."""
    task = make_task()
    found = posteriors(llava, task, ProbeSpec(design=design))
    expected = results(found, task)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            seen = results(found, task)
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(expected, seen, strict=True):
        same = {"atol": 0, "rtol": 0, "equal_nan": True}
        torch.testing.assert_close(one.pid.atoms(), other.pid.atoms(), **same)
        torch.testing.assert_close(dict(one.pid.standard_errors), dict(other.pid.standard_errors), **same)


@pytest.mark.parametrize(
    ("design", "filled"), [("crossed", "conditionals"), ("learned", "joint"), ("masked", "vision")]
)
def test_a_layer_that_is_not_numbers_is_unsolved_and_spares_the_others(llava, make_task, design, filled):
    task = make_task()
    found = posteriors(llava, task, ProbeSpec(design=design))
    expected = results(found, task)
    spoilt = getattr(found, filled).clone()
    spoilt[1, 0] = math.nan
    with pytest.warns(RuntimeWarning, match="posteriors of layer 1 are not finite"):
        seen = results(replace(found, **{filled: spoilt}), task)
    assert not seen[1].pid.converged
    assert math.isnan(seen[1].accuracy)
    assert all(
        math.isnan(value)
        for value in to_record(
            seen[1], run="r", run_name="r", step=0, stage="s", stage_step=0, model="m"
        ).atoms.values()
    )
    for i in (0, 2):
        torch.testing.assert_close(seen[i].pid.synergy, expected[i].pid.synergy, atol=1e-6, rtol=0)
        assert seen[i].accuracy == expected[i].accuracy


def test_what_too_little_memory_looks_like():
    with pytest.raises(RuntimeError) as told:
        torch.empty(10**15)
    assert out_of_memory(told.value)
    assert not out_of_memory(RuntimeError("expected all tensors to be on the same device"))
