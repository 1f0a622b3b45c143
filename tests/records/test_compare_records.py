"""The tool that compares two record files number by number."""

import importlib.util
import json
import sys
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest

from fusionscope.records import Attempt, RecordFile

TOOL = Path(__file__).parents[2] / "tools" / "compare_records.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("compare_records", TOOL)
    module = sys.modules["compare_records"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["compare_records"]


@pytest.fixture
def compare(tool, tmp_path, capsys):
    """``compare(old, new, *arguments) -> (exit status, what it printed)``."""

    def run(old, new, *arguments):
        for name, records in (("old", old), ("new", new)):
            RecordFile(tmp_path / name / "records.jsonl").append(records)
        status = tool.main([str(tmp_path / "old"), str(tmp_path / "new"), *arguments])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def test_equal_numbers_are_equal_whatever_run_and_attempt(compare, make_record):
    new = replace(make_record(synergy=0.5), run="other", run_name="new", attempt=1, seconds=9.0)
    assert compare([make_record(synergy=0.5)], [new])[0] == 0


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"synergy": 0.5 + 1e-9}, "synergy"),
        ({"accuracy": nan}, "accuracy"),
        ({"diagnostics": {"option_mass": 0.9}}, "diagnostics/option_mass"),
        ({"intervals": {"synergy": (0.1, 0.8)}}, "intervals/synergy/1"),
        ({"converged": False}, "converged"),
    ],
)
def test_the_largest_difference_of_a_number_is_named_with_its_place(compare, make_record, change, name):
    old = {"synergy": 0.5, "diagnostics": {"option_mass": 0.8}, "intervals": {"synergy": (0.1, 0.9)}}
    status, text = compare([make_record(**old)], [make_record(**(old | change))])
    assert status == 1
    (line,) = [line for line in text.splitlines() if "ABOVE" in line]
    assert line.split()[0] == name
    assert "step 0 (1_align), sandbox/synergy (crossed), layer 4" in line


def test_a_tolerance_can_be_given(compare, make_record):
    pair = [make_record(synergy=0.5)], [make_record(synergy=0.5001)]
    assert compare(*pair, "--tolerance", "1e-3")[0] == 0


def test_records_on_one_side_alone_are_named(compare, make_record):
    status, text = compare([make_record(), make_record(step=3)], [make_record(), make_record(layer=2)])
    assert status == 1
    assert "1 records that only OLD has:\n  step 3 (1_align)" in text
    assert "1 records that only NEW has:\n  step 0 (1_align), sandbox/synergy (crossed), layer 2" in text


def test_numbers_may_be_added_and_renamed_but_not_lost(compare, make_record):
    old, new = make_record(diagnostics={"bend": 1.0}), make_record(diagnostics={"curvature": 1.0, "more": 2.0})
    status, text = compare([old], [new])
    assert status == 1
    assert "only OLD has:\n  diagnostics/bend (in 1 records)" in text
    status, text = compare([], [], "--rename", "diagnostics/bend=diagnostics/curvature")
    assert status == 0
    assert "only NEW has:\n  diagnostics/more (in 1 records)" in text


def test_an_earlier_schema_is_read(tool, tmp_path, make_record):
    new = RecordFile(tmp_path / "new.jsonl")
    new.append([make_record(synergy=0.5)])
    row = json.loads(new.path.read_text())
    added = ("run_name", "attempt", "variant", "law", "identified", "measures", "fingerprints", "spec", "dropped")
    kept = {name: value for name, value in row.items() if name not in (*added, "citation", "licence")}
    (tmp_path / "old.jsonl").write_text(json.dumps(kept | {"weights": row["law"], "schema": 2}) + "\n")
    assert tool.main([str(tmp_path / "old.jsonl"), str(new.path)]) == 0


def test_the_standing_branch_is_compared(compare, make_record, tmp_path):
    new = RecordFile(tmp_path / "new" / "records.jsonl")
    new.append([make_record(synergy=0.1)])
    new.open_attempt(Attempt(run="run", attempt=2))
    assert compare([make_record(synergy=0.5)], [make_record(synergy=0.5, attempt=2)])[0] == 0


def test_a_file_without_records_is_an_error(compare, make_record):
    status, text = compare([make_record()], [])
    assert status == 2
    assert "holds no records" in text
