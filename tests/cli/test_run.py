import os
import signal
import subprocess
import sys
import time

import pytest
from transformers import AutoModelForImageTextToText

from fusionscope.records import RecordFile, Run


def records_of(directory):
    return RecordFile(directory / "records.jsonl").read()


def test_three_stages_go_through_one_directory_on_one_axis(recipe, tmp_path, fusionscope):
    run = tmp_path / "run"
    done = fusionscope("run", recipe, "--run-dir", run)
    assert done.returncode == 0, done.stderr[-3000:]

    saved = Run.find(run)
    assert [(stage.status, stage.steps, stage.step_offset) for stage in saved.stages] == [
        ("done", 6, 0),
        ("done", 6, 6),
        ("done", 6, 12),
    ]
    records = records_of(run)
    places = dict.fromkeys((record.stage, record.step) for record in records)
    names = [stage.name for stage in saved.stages]
    assert list(places) == [(name, 6 * i + step) for i, name in enumerate(names) for step in (0, 3, 6)]
    assert {(record.task, record.law) for record in records} == {
        ("sandbox/synergy", "uniform"),
        ("sandbox/redundant", "uniform"),
        ("sandbox/redundant", "natural"),
    }
    assert all(record.converged for record in records)
    assert {record.baseline for record in records if record.stage == names[0]} == {True}
    assert {record.baseline for record in records if record.stage != names[0]} == {False}

    AutoModelForImageTextToText.from_pretrained(run / names[-1] / "model")
    assert (run / names[-1] / "config.yaml").is_file()
    for figure in ("time.png", "depth.png", "time.svg"):
        assert (run / "figures" / figure).stat().st_size > 1000
    assert "S (bits)" in done.stdout
    assert "Onset of synergy" in done.stdout

    written = (run / "records.jsonl").read_bytes()
    again = fusionscope("run", recipe, "--run-dir", run)
    assert again.returncode == 0
    assert again.stdout.count("done before") == 3

    (recipe / "1_align.yaml").write_text((recipe / "1_align.yaml").read_text() + "\n# changed\n")
    other = fusionscope("run", recipe, "--run-dir", run)
    assert other.returncode == 2
    assert "holds a run of recipe 'short'" in other.stderr
    assert "--run-dir" in other.stderr
    assert (run / "records.jsonl").read_bytes() == written


def test_a_killed_run_goes_on_to_the_same_records(recipe, tmp_path, fusionscope):
    """SIGKILL inside the last stage, after its first checkpoint; then the same command again."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert fusionscope("run", recipe, "--run-dir", whole).returncode == 0
    command = [sys.executable, "-m", "fusionscope.cli", "run", str(recipe), "--run-dir", str(cut)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, start_new_session=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    last = cut / "2_instruct" / "checkpoints" / "step=00000003.ckpt"
    until = time.monotonic() + 300
    while not last.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert last.exists()

    resumed = fusionscope("run", recipe, "--run-dir", cut)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert resumed.stdout.count("done before") == 2
    theirs = {(r.step, r.stage, *r.series, r.layer): r.atoms for r in records_of(whole)}
    ours = {(r.step, r.stage, *r.series, r.layer): r.atoms for r in records_of(cut)}
    assert ours.keys() == theirs.keys()
    for key, atoms in theirs.items():
        assert ours[key] == pytest.approx(atoms, abs=1e-9), key


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("warmup_steps:", "warmap_steps:", "warmap_steps"),
        ("sandbox/redundant", "sandbax/redundant", "task 'sandbax'"),
        ("tasks:", "layers: [0, 9]\n        tasks:", "layers [0, 9]"),
        ("tune: full", "tune: fill", "fill"),
    ],
    ids=["key", "task", "layer", "tune"],
)
def test_what_a_recipe_cannot_mean_is_a_short_clear_error(recipe, tmp_path, fusionscope, old, new, message):
    path = recipe / "0_language.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    failed = fusionscope("run", recipe, "--run-dir", tmp_path / "run")
    assert failed.returncode not in (0, None)
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    tail = failed.stderr.split("fusionscope: ")[1]
    assert message in tail.splitlines()[0], tail
    assert len(tail.splitlines()) < 12, tail


def test_an_unknown_recipe_lists_those_that_there_are(tmp_path, fusionscope):
    failed = fusionscope("run", "sandbux", cwd=tmp_path)
    assert failed.returncode == 2
    assert "no recipe 'sandbux'" in failed.stderr
    assert "sandbox" in failed.stderr


def test_checkpoints_without_the_run_that_they_belong_to_are_not_trained_on(recipe, tmp_path, fusionscope):
    folder = tmp_path / "run" / "1_align" / "checkpoints"
    folder.mkdir(parents=True)
    failed = fusionscope("run", recipe, "--run-dir", tmp_path / "run")
    assert failed.returncode == 2
    assert "has checkpoints of 1_align, and no run.json" in failed.stderr
