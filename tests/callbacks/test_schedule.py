import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionscope.callbacks import Schedule
from fusionscope.errors import ConfigError


@given(st.floats(1.05, 10), st.integers(1, 5000))
def test_log_spaced_steps_are_the_rounded_powers(ratio, last):
    powers = set()
    k = 0
    while (step := math.ceil(ratio**k - 1e-9)) <= last:
        powers.add(step)
        k += 1
    schedule = Schedule(log_spaced=ratio)
    assert {step for step in range(last + 1) if schedule.due(step)} == powers


@given(st.integers(1, 50))
def test_even_steps_take_over_from_log_spaced_ones(n):
    schedule = Schedule(every_n_steps=n, log_spaced=2.0)
    due = [step for step in range(3 * n + 1) if schedule.due(step)]
    assert [step for step in due if step >= n] == [n, 2 * n, 3 * n]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every_n_steps": -1}, "every_n_steps=-1"),
        ({"log_spaced": 0.5}, "log_spaced=0.5"),
        ({"at_start": False, "at_end": False}, "never acts"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Schedule(**settings)
