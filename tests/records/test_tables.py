"""Tables: what a cell says of a number."""

import math

import pytest

from fusionscope.records.tables import with_error


@pytest.mark.parametrize(
    ("ends", "value", "text"),
    [
        ((0.012, 0.34), math.nan, "0.012 to 0.340"),
        ((0.0, 0.34), math.nan, "≤ 0.340"),
        ((-0.01, 0.34), math.nan, "≤ 0.340"),
        ((0.25, 0.9), math.nan, "≥ 0.250"),
        ((0.0, 0.9), math.nan, "not identified"),
        ((math.nan, math.nan), math.nan, "not identified"),
        ((0.21, 0.24), 0.225, "0.225 [0.210, 0.240]"),
    ],
)
def test_identified_intervals_say_which_ends_they_have(make_record, ends, value, text) -> None:
    record = make_record(synergy=value, identified={"synergy": ends, "total": (0.8, 0.9)})
    assert with_error(record, "synergy") == text
    assert record.interval("synergy") == pytest.approx(ends, nan_ok=True)
