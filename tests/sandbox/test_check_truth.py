import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import lightning as L
import pytest
import yaml

from fusionscope.callbacks import PIDCallback, ScheduledCheckpoint
from fusionscope.callbacks.schedule import Schedule
from fusionscope.records import RecordFile, Run, Stage
from fusionscope.sandbox import UnimodalData, UnimodalPretraining

TOOL = Path(__file__).parents[2] / "tools" / "check_truth.py"
ONCE = Schedule(at_start=False)


def enumerate_once(model_pid):
    """The short run has one checkpoint, whose truth stays the same in all tests."""
    found = {}

    def cached(lvlm, variant, **settings):
        key = (variant, *settings["layers"])
        if key not in found:
            found[key] = model_pid(lvlm, variant, **settings)
        return found[key]

    return cached


@pytest.fixture(scope="module")
def check_truth():
    spec = importlib.util.spec_from_file_location("check_truth", TOOL)
    module = sys.modules["check_truth"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.model_pid = enumerate_once(module.model_pid)
    yield module
    del sys.modules["check_truth"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one stage and a few steps, probed and saved at its end."""
    directory = tmp_path_factory.mktemp("run")
    short = Run(directory=directory, recipe="short", digest="", seed=None, stages=(Stage(name="0"),))
    short = short.start("0").save()
    stage = {"class_path": "fusionscope.sandbox.UnimodalPretraining", "init_args": {"seed": 2}}
    short.stage_directory("0").path.mkdir()
    short.stage_directory("0").config.write_text(yaml.safe_dump({"model": stage}))
    probing = PIDCallback(["sandbox/vision"], schedule=ONCE, progress=False)
    trainer = L.Trainer(
        max_epochs=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        callbacks=[probing, ScheduledCheckpoint(ONCE)],
        default_root_dir=directory,
        limit_val_batches=0,
    )
    trainer.fit(UnimodalPretraining(seed=2, warmup_steps=0), UnimodalData(steps=6, batch_size=16, seed=0))
    return directory


def call(check_truth, monkeypatch, run):
    monkeypatch.setattr(sys, "argv", ["check_truth.py", str(run)])
    return check_truth.main()


def test_a_short_run_logged_the_truth_at_every_layer(check_truth, run, monkeypatch, capsys):
    assert call(check_truth, monkeypatch, run) == 0
    assert "20 atoms compared, 0 off" in capsys.readouterr().out


def test_a_wrong_number_is_named_and_fails(check_truth, run, monkeypatch, capsys):
    last = RecordFile(run / "records.jsonl").read()[-1]
    RecordFile(run / "records.jsonl").append([replace(last, synergy=last.synergy + 0.1)])
    assert call(check_truth, monkeypatch, run) == 1
    out = capsys.readouterr().out
    assert "wrong: 0 step 6, sandbox/vision (uniform), layer 4: synergy" in out
    assert "1 off by more than 0.05 bits: FAILED" in out


def test_a_number_that_is_none_or_not_certified_is_wrong(check_truth, run):
    record = RecordFile(run / "records.jsonl").read()[0]
    assert check_truth.Difference(record=record, atom="synergy", logged=float("nan"), true=0.0).size > 1
    unsolved = replace(record, converged=False)
    assert check_truth.Difference(record=unsolved, atom="synergy", logged=0.0, true=0.0).size > 1


def test_a_record_without_checkpoint_fails(check_truth, run, monkeypatch, capsys):
    records = RecordFile(run / "records.jsonl").read()
    RecordFile(run / "records.jsonl").append([replace(records[0], step=3, stage_step=3)])
    assert call(check_truth, monkeypatch, run) == 1
    assert "no checkpoint for the records of 0, step 3" in capsys.readouterr().out


def curve(check_truth, record, true, logged):
    """Differences of a series probed every 10 steps, whose logged synergy has no error of its own."""
    records = [
        replace(record, step=10 * i, stage_step=10 * i, layer=record.n_layers, synergy=value, standard_errors={})
        for i, value in enumerate(logged)
    ]
    return [
        check_truth.Difference(record=one, atom="synergy", logged=one.synergy, true=value)
        for one, value in zip(records, true, strict=True)
    ]


@pytest.mark.parametrize(("delay", "late"), [(0, 0), (1, 0), (2, 1)])
def test_a_logged_onset_may_be_one_probe_off_but_not_two(check_truth, run, capsys, delay, late):
    record = RecordFile(run / "records.jsonl").read()[0]
    true = [0.0] * 6 + [1.0] * 6
    logged = [0.0] * (6 + delay) + [1.0] * (6 - delay)
    assert check_truth.print_onsets(curve(check_truth, record, true, logged)) == late
    onsets = capsys.readouterr().out.splitlines()[1].split()[-3:]
    assert onsets == [str(60 + 10 * delay), "60", "60"]  # logged, true, true half way


def test_an_onset_that_the_truth_does_not_have_is_wrong(check_truth, run):
    record = RecordFile(run / "records.jsonl").read()[0]
    assert check_truth.print_onsets(curve(check_truth, record, [0.0] * 12, [0.0] * 6 + [1.0] * 6)) == 1
    assert check_truth.half_way(curve(check_truth, record, [0.0] * 12, [0.0] * 12)) is None
