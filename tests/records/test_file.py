import json
from dataclasses import replace
from math import isnan, nan

import pytest

from fusionscope.errors import DataError
from fusionscope.records import Record, RecordFile


def make(**changes) -> Record:
    """A record with plausible numbers."""
    fields = dict(
        run="r",
        run_name="r",
        step=3,
        stage="s",
        stage_step=3,
        task="sandbox/synergy",
        variant="crossed",
        design="crossed",
        law="uniform",
        estimator="exact",
        layer=1,
        n_layers=2,
        redundancy=0.1,
        unique_vision=0.2,
        unique_language=0.3,
        synergy=0.4,
        total=1.0,
        union_lower=0.6,
        union_upper=0.6,
        converged=True,
        n=8,
        n_images=4,
        n_questions=2,
        standard_errors={"synergy": 0.01},
        diagnostics={"option_mass": nan},
    )
    return Record(**(fields | changes))


def schema_2(row):
    """A row as the version before wrote it."""
    new = ("run_name", "attempt", "variant", "law", "identified", "measures", "fingerprints", "spec", "dropped")
    old = {name: value for name, value in row.items() if name not in (*new, "citation", "licence")}
    return {**old, "weights": row["law"], "schema": 2}


@pytest.mark.parametrize(
    ("old", "variant"),
    [
        ({}, "crossed"),
        ({"law": "natural"}, "crossed+natural"),
        ({"design": "learned", "law": "natural"}, "learned"),
        ({"design": "masked", "law": "natural", "estimator": "faithful"}, "masked+faithful"),
    ],
)
def test_records_of_schema_2_are_read(tmp_path, old, variant):
    file = RecordFile(tmp_path / "records.jsonl")
    file.path.write_text(json.dumps(schema_2(make(**old).to_json())) + "\n")
    (record,) = file.read()
    assert (record.variant, record.run_name, record.attempt, record.fingerprints) == (variant, "r", 1, {})
    assert record.synergy == 0.4


def test_records_come_back_as_they_were_written(tmp_path):
    file = RecordFile(tmp_path / "deep" / "records.jsonl")
    file.append([make(), make(layer=2, synergy=1 / 3)])
    first, second = file.read()
    assert second == replace(make(layer=2, synergy=1 / 3), diagnostics=second.diagnostics)
    assert isnan(first.accuracy)
    assert isnan(first.diagnostics["option_mass"])


def test_intervals_are_kept_and_records_without_them_still_read(tmp_path):
    file = RecordFile(tmp_path / "records.jsonl")
    file.append([make(intervals={"synergy": (0.3, 0.6), "redundancy": (nan, 0.2)})])
    (record,) = file.read()
    assert record.interval("synergy") == (0.3, 0.6)
    assert isnan(record.interval("redundancy")[0])
    assert isnan(record.interval("unique_vision")[0])
    old = schema_2(json.loads(file.path.read_text())) | {"schema": 1}
    del old["intervals"]
    file.path.write_text(json.dumps(old) + "\n")
    (record,) = file.read()
    assert record.interval("synergy") == pytest.approx((0.4 - 0.0196, 0.4 + 0.0196), abs=1e-5)
    file.append([record])
    assert json.loads(file.path.read_text().splitlines()[-1])["schema"] == 3


def test_lines_are_strict_json(tmp_path):
    file = RecordFile(tmp_path / "records.jsonl")
    file.append([make()])
    row = json.loads(file.path.read_text(), parse_constant=pytest.fail)
    assert row["accuracy"] is None


def test_a_torn_last_line_is_passed_over_and_then_cut_off(tmp_path):
    file = RecordFile(tmp_path / "records.jsonl")
    file.append([make()])
    with file.path.open("a") as stream:
        stream.write('{"run": "r", "st')
    assert len(file.read()) == 1
    file.append([make(step=4)])
    assert [record.step for record in file.read()] == [3, 4]
    assert all(json.loads(line) for line in file.path.read_text().splitlines())


def test_a_later_line_of_the_same_key_replaces_the_earlier(tmp_path):
    file = RecordFile(tmp_path / "records.jsonl")
    file.append([make(synergy=0.1), make(step=9)])
    file.append([make(synergy=0.2)])
    assert [(record.step, record.synergy) for record in file.read()] == [(3, 0.2), (9, 0.4)]


def changed(**columns):
    return json.dumps({**make().to_json(), **columns}).encode()


@pytest.mark.parametrize(
    "line",
    [
        *(b"[]", b'{"schema": 1}', b'{"schema": 99}', b"not json", b"caf\xe9", b"[" * 100_000),
        *(changed(task=["x"]), changed(intervals=None), changed(run="\ud800")),
        json.dumps(make().to_json()).replace("crossed", "\ud800").encode("utf-8", "surrogatepass"),
        json.dumps({"kind": "attempt", "run": ["x"]}).encode(),
    ],
    ids=range(11),
)
def test_a_whole_line_that_is_no_record_is_an_error_with_its_number(tmp_path, line):
    file = RecordFile(tmp_path / "records.jsonl")
    file.append([make()])
    with file.path.open("ab") as stream:
        stream.write(line + b"\n")
    with pytest.raises(DataError, match="line 2"):
        file.read()
