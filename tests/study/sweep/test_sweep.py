"""Probing after training: the same numbers as live, resumed from any interruption, any kind of checkpoint."""

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from fusionscope.callbacks import PIDCallback, ScheduledCheckpoint
from fusionscope.callbacks.schedule import Schedule
from fusionscope.cli import main
from fusionscope.data import LlavaDataModule
from fusionscope.errors import ConfigError, DataError
from fusionscope.probe import ProbeSpec
from fusionscope.records import Record, RecordFile, Run, Stage
from fusionscope.sandbox.model import write
from fusionscope.stages import AlignmentPretraining, LoraSettings, PartConfig, VisualInstructionTuning
from fusionscope.study.comparison import Model, Profile
from fusionscope.study.sweep import Models, find_checkpoints, merge, sweep
from fusionscope.study.sweep import models as models_module
from fusionscope.study.sweep import run as sweep_module
from fusionscope.tasks import HeldOutTask, load_task, spec

TASKS = ["sandbox/synergy", "sandbox/redundant"]
ARGUMENTS = ["--task", "sandbox/synergy", "--task", "sandbox/redundant", "--device", "cpu"]


def small(name: str, *, images: int = 12) -> HeldOutTask:
    """A sandbox task cut down to a few pictures: what is probed here is not what matters."""
    task = load_task(name)
    keep = range(0, len(task.images), len(task.images) // images)[:images]
    assert task.truth is not None
    truth = task.truth[list(keep)]
    occurs = (truth >= 0).double()
    weights = {"uniform": torch.full_like(occurs, 1 / occurs.numel())}
    if "natural" in task.pair_weights:
        weights["natural"] = occurs / occurs.sum()
    return dataclasses.replace(
        task,
        images=[task.images[i] for i in keep],
        image_ids=[task.image_ids[i] for i in keep],
        truth=truth,
        pairs=occurs.nonzero(),
        pair_answers=truth[truth >= 0],
        pair_weights=weights,
    )


@pytest.fixture(scope="module", autouse=True)
def small_tasks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fusionscope.tasks.spec.load_task", small)
        yield


class Answers(Dataset[dict[str, Any]]):
    """Pictures of noise and one-word answers."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> dict[str, Any]:
        pixels = torch.randint(0, 256, (32, 32, 3), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        turns = [
            {"from": "human", "value": "<image>\nwhat colour is the circle ?"},
            {"from": "gpt", "value": ("red", "blue")[i % 2]},
        ]
        return {"id": str(i), "image": Image.fromarray(pixels.numpy()), "conversations": turns}


def train(staged: Run, name: str, stage: L.LightningModule) -> Run:
    staged = staged.start(name).save()
    schedule = Schedule(every_n_steps=4)
    probing = PIDCallback([small(task) for task in TASKS], schedule=schedule, progress=False)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        default_root_dir=staged.directory,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[probing, ScheduledCheckpoint(schedule)],
    )
    trainer.fit(stage, datamodule=LlavaDataModule(train=Answers(), batch_size=2, seed=3))
    stage.export(staged.stage_directory(name).model)
    return staged.finish(name, trainer.global_step).save()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two stages, alignment and adapters, probed live."""
    directory = tmp_path_factory.mktemp("runs") / "tiny-run"
    base = write(tmp_path_factory.mktemp("base"), seed=0)
    stages = (Stage(name="1_align"), Stage(name="2_lora"))
    staged = Run(directory=directory, recipe="tiny", digest="0", seed=0, stages=stages).save()
    staged = train(staged, "1_align", AlignmentPretraining(str(base), warmup_steps=0))
    tuning = VisualInstructionTuning(
        str(directory / "1_align" / "model"),
        warmup_steps=0,
        projector=PartConfig(tune="full", lr=1e-3),
        language_model=PartConfig(tune="lora", lr=1e-2),
        lora=LoraSettings(rank=4, alpha=8, dropout=0.0),
    )
    train(staged, "2_lora", tuning)
    return directory


@pytest.fixture(scope="module")
def swept(run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    out = tmp_path_factory.mktemp("swept")
    assert sweep(find_checkpoints([str(run)]), TASKS, [ProbeSpec()], out) == 8
    return RecordFile(out / "records.jsonl").read()


def numbers(record: Record) -> dict[str, float]:
    """All that a record measured; what it cost and where its model lay aside."""
    row = dataclasses.asdict(record)
    flat = {k: v for k, v in row.items() if isinstance(v, (int, float)) and k not in ("seconds", "tokens")}
    for group in ("standard_errors", "diagnostics"):
        flat |= {f"{group}/{k}": v for k, v in row[group].items()}
    return flat


def assert_same(found: list[Record], expected: list[Record], tolerance: float) -> None:
    by_key = {record.key: record for record in found}
    assert set(by_key) == {record.key for record in expected}
    for record in expected:
        mine, theirs = numbers(by_key[record.key]), numbers(record)
        assert set(mine) == set(theirs)
        for name, value in theirs.items():
            assert mine[name] == pytest.approx(value, abs=tolerance, nan_ok=True), (record.key, name)


def test_live_and_post_hoc_records_agree(run: Path, swept: list[Record]) -> None:
    live = RecordFile(run / "records.jsonl").read()
    assert {(r.stage, r.step, r.stage_step) for r in live} == {
        ("1_align", 0, 0),
        ("1_align", 4, 4),
        ("2_lora", 4, 0),
        ("2_lora", 8, 4),
    }
    assert_same(swept, live, 1e-6)
    synergies = {round(r.total, 9) for r in swept if r.layer == 4 and r.task == "sandbox/synergy"}
    assert len(synergies) == 3  # the last of one stage is the first of the next; all others differ


def test_the_last_checkpoint_has_the_step_that_it_holds(run: Path, tmp_path: Path) -> None:
    folder = run / "2_lora" / "checkpoints"
    (last,) = find_checkpoints([str(folder / "last.ckpt")])
    assert (last.step, last.stage_step) == (8, 4)
    every = find_checkpoints([str(folder / "*.ckpt")])
    assert [Path(one.path).name for one in every] == ["step=00000000.ckpt", "step=00000004.ckpt"]  # the last is one
    torn = tmp_path / "last.ckpt"
    torn.write_bytes((folder / "last.ckpt").read_bytes()[:5000])
    with pytest.raises(DataError, match="cannot be read"):
        find_checkpoints([str(torn)])


def test_the_base_is_loaded_once_a_stage(run: Path) -> None:
    models = Models()
    for checkpoint in find_checkpoints([str(run)]):
        models.load(checkpoint)
    assert models.loads == 2


@pytest.mark.parametrize("share", [0.3, 0.8, 0.999])
def test_a_sweep_goes_on_from_any_byte(run: Path, swept: list[Record], tmp_path: Path, share: float) -> None:
    """Whatever a kill leaves of the file is a beginning of it, perhaps in the middle of a line."""
    RecordFile(tmp_path / "records.jsonl").append(swept)
    whole = (tmp_path / "records.jsonl").read_bytes()
    (tmp_path / "records.jsonl").write_bytes(whole[: int(share * len(whole))])
    kept = RecordFile(tmp_path / "records.jsonl").read()
    checkpoints = find_checkpoints([str(run)])[-2:] if share < 0.5 else find_checkpoints([str(run)])
    made = sweep(checkpoints, TASKS, [ProbeSpec()], tmp_path)
    assert 0 < made < 8
    places = {(c.stage, c.step) for c in checkpoints}
    expected = [r for r in swept if (r.stage, r.step) in places or r in kept]
    found = [r for r in RecordFile(tmp_path / "records.jsonl").read() if (r.stage, r.step) in places or r in kept]
    assert_same(found, expected, 0.0)
    assert sweep(checkpoints, TASKS, [ProbeSpec()], tmp_path) == 0


def test_a_killed_command_goes_on(run: Path, swept: list[Record], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["probe", str(run), "--out", str(out), *ARGUMENTS]
    process = subprocess.Popen([sys.executable, __file__, *command], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 300
    while not (out / "records.jsonl").exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert main(command) == 0
    assert_same(RecordFile(out / "records.jsonl").read(), swept, 0.0)
    assert list((out / "tensorboard").glob("events*"))


def test_workers_share_the_checkpoints(run: Path, swept: list[Record], tmp_path: Path) -> None:
    checkpoints, last = find_checkpoints([str(run)])[-2:], [ProbeSpec(layers="last")]
    for i in range(2):
        sweep(checkpoints, TASKS[:1], last, tmp_path, worker=(i, 2))
    merge(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["records.jsonl", "sources.jsonl"]
    expected = [r for r in swept if r.stage == "2_lora" and r.task == "sandbox/synergy" and r.layer == 4]
    assert_same(RecordFile(tmp_path / "records.jsonl").read(), expected, 1e-9)
    assert sweep(checkpoints, TASKS[:1], last, tmp_path) == 0
    assert sweep(checkpoints[:1], TASKS[:1], [ProbeSpec(layers=[-1, 2])], tmp_path) == 1
    assert sweep(checkpoints[:1], ["sandbox/synergy:images=24"], last, tmp_path) == 1


def test_what_is_done_is_known_in_every_design(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task's own design may be another than crossed, use some of the pairs, and leave out a damaged picture."""

    class FirstIsBroken(list[Image.Image]):
        def __getitem__(self, i: Any) -> Any:
            if i == 0:
                raise OSError("truncated")
            return super().__getitem__(i)

    def uncrossable(name: str) -> HeldOutTask:
        task = small(name)
        images = FirstIsBroken(task.images) if name.endswith("redundant") else task.images
        return dataclasses.replace(task, crossable=False, images=images)

    monkeypatch.setattr("fusionscope.tasks.spec.load_task", uncrossable)
    settings = {"layers": "last", "max_pairs": 9, "max_bad_images": 1}
    learned = ProbeSpec(design="learned", design_options={"folds": 2}, **settings)
    specs = [learned, ProbeSpec(design="masked", **settings)]
    checkpoints = find_checkpoints([str(run)])[-1:]
    with pytest.warns(UserWarning, match="1 images cannot be read"):
        assert sweep(checkpoints, TASKS, specs, tmp_path) == 4
    records = RecordFile(tmp_path / "records.jsonl").read()
    assert {(r.task, r.design) for r in records} == {(t, d) for t in TASKS for d in ("learned", "masked")}
    assert sweep(checkpoints, TASKS, specs, tmp_path) == 0
    assert sweep(checkpoints, TASKS, [dataclasses.replace(learned, max_pairs=11)], tmp_path) == 2


def test_an_export_is_probed_as_its_last_checkpoint(run: Path, swept: list[Record], tmp_path: Path) -> None:
    """A Hugging Face directory; adapters merged, so equal but for rounding."""
    found = find_checkpoints([f"merged={run / '2_lora' / 'model'}"])
    assert [(c.kind, c.run, c.step) for c in found] == [("model", "merged", 0)]
    sweep(found, TASKS[:1], [ProbeSpec()], tmp_path)
    last = {r.layer: r for r in swept if r.step == 8 and r.task == "sandbox/synergy"}
    for record in RecordFile(tmp_path / "records.jsonl").read():
        assert record.total == pytest.approx(last[record.layer].total, abs=1e-4)


def test_a_peft_adapter_is_probed_on_its_base(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    base = write(tmp_path / "base", seed=0)
    for i in range(2):
        model = AutoModelForImageTextToText.from_pretrained(base)
        config = LoraConfig(r=2, target_modules=r".*language_model.*q_proj", init_lora_weights=i == 1)
        with torch.random.fork_rng():
            torch.manual_seed(i)
            get_peft_model(model, config).save_pretrained(tmp_path / f"checkpoint-{i + 1}")
    found = find_checkpoints([str(tmp_path / "checkpoint-*")])
    assert [(c.kind, c.step) for c in found] == [("adapter", 1), ("adapter", 2)]
    sweep([*found, *find_checkpoints([str(base)])], TASKS[:1], [ProbeSpec(layers="last")], tmp_path / "out")
    moved, still, plain = (r.total for r in RecordFile(tmp_path / "out" / "records.jsonl").read())
    assert still == pytest.approx(plain, abs=1e-9)  # a fresh adapter adds nothing
    assert not math.isclose(moved, plain, abs_tol=1e-6)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["nowhere/at/all"], "does not exist"),
        (["./none*.ckpt"], "matches nothing"),
        (["missing.ckpt"], "missing.ckpt does not exist"),
    ],
)
def test_a_source_that_is_none_is_a_clear_error(sources: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_checkpoints(sources)


def test_what_cannot_be_told_apart_or_is_not_ours_is_refused(tmp_path: Path, run: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "model" / "config.json").write_text(json.dumps({}))
    with pytest.raises(ConfigError, match="both step 0 of 'model'"):
        find_checkpoints([str(tmp_path / "*" / "model")])
    torch.save({"state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(DataError, match="not saved by a fusionscope stage"):
        Models().load(find_checkpoints([str(tmp_path / "x.ckpt")])[0])
    with pytest.raises(ConfigError, match="no task"):
        main_or_raise(["probe", str(run), "--device", "cpu"])


def main_or_raise(arguments: list[str]) -> None:
    from fusionscope.cli import parser

    options = parser().parse_args(arguments)
    call: Callable[..., int] = options.call
    call(options)


def test_a_model_that_fails_is_named_and_the_others_are_probed(tmp_path: Path) -> None:
    good = write(tmp_path / "good", seed=0)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text(json.dumps({"model_type": "cambrian_llama"}))
    found = find_checkpoints([str(tmp_path / "bad"), str(good)])
    with pytest.raises(ConfigError, match=r"1 of 2 checkpoints failed: .*bad"):
        sweep(found, TASKS[:1], [ProbeSpec(layers="last")], tmp_path / "out", keep_going=True)
    assert [r.run for r in RecordFile(tmp_path / "out" / "records.jsonl").read()] == ["good"]


def test_whatever_stops_one_model_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that a processor lacks is an ImportError; some errors carry no text."""
    found = find_checkpoints([str(write(tmp_path / name, seed=0)) for name in ("a", "b", "c")])
    load = Models.load

    def failing(models: Models, checkpoint: Any) -> Any:
        if checkpoint.run == "c":
            return load(models, checkpoint)
        raise ImportError("requires torchvision\nmore") if checkpoint.run == "a" else NotImplementedError

    monkeypatch.setattr(Models, "load", failing)
    with pytest.raises(ConfigError, match=r"ImportError: requires torchvision; .*NotImplementedError: no message"):
        sweep(found, TASKS[:1], [ProbeSpec(layers="last")], tmp_path / "out", keep_going=True)
    assert [r.run for r in RecordFile(tmp_path / "out" / "records.jsonl").read()] == ["c"]


def test_names_of_a_profile_may_hold_any_character(tmp_path: Path) -> None:
    base = write(tmp_path / "step=[5]", seed=0)
    models = [Model(name=name, path=str(base), family="f") for name in ("org/model=7B", "b")]
    found = Profile(models=models, tasks=TASKS, spec=ProbeSpec()).checkpoints()
    assert [(one.run, one.path) for one in found] == [("org/model=7B", str(base)), ("b", str(base))]
    assert [one.path for one in find_checkpoints([str(base)])] == [str(base)]  # a glob only where no such file is


def test_another_model_under_a_name_takes_its_place_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bases = [write(tmp_path / name, seed=seed) for seed, name in enumerate(("a", "b"))]
    what = TASKS[:1], [ProbeSpec(layers="last")]
    assert sweep(find_checkpoints([f"m={bases[0]}"]), *what, tmp_path) == 1
    monkeypatch.chdir(tmp_path)
    assert sweep(find_checkpoints(["m=a/"]), *what, tmp_path) == 0
    lines: list[str] = []
    assert sweep(find_checkpoints([f"m={bases[1]}"]), *what, tmp_path, say=lines.append) == 1
    assert lines[0] == "m step 0: sandbox/synergy measured anew: the weights have changed"


@pytest.mark.parametrize(("precision", "cast"), [("bf16-mixed", True), ("32-true", False)])
def test_a_stage_is_probed_in_the_precision_of_its_training(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, cast: bool
) -> None:
    original, probe, seen = models_module.read, sweep_module.probe, []

    def as_if(path: str, trust: bool) -> dict[str, Any]:
        saved = original(path, trust=trust)
        saved["fusionscope"]["precision"] = precision
        return saved

    def watched(*arguments: Any, **settings: Any) -> Any:
        seen.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return probe(*arguments, **settings)

    monkeypatch.setattr(models_module, "read", as_if)
    monkeypatch.setattr(sweep_module, "probe", watched)
    sweep(find_checkpoints([str(run)])[-1:], TASKS[:1], [ProbeSpec(layers="last")], tmp_path / "out")
    assert seen == [(cast, torch.bfloat16)]


def test_one_torn_file_stops_no_sweep(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiny-run"
    shutil.copytree(run, copy)
    torn = copy / "1_align" / "checkpoints" / "step=00000004.ckpt"
    torn.write_bytes(torn.read_bytes()[:-1])
    checkpoints = find_checkpoints([str(copy)])
    with pytest.raises(ConfigError, match=r"1 of 4 checkpoints failed: .*step=00000004\.ckpt has .* bytes"):
        sweep(checkpoints, TASKS[:1], [ProbeSpec(layers="last")], tmp_path / "out")
    assert len({record.key for record in RecordFile(tmp_path / "out" / "records.jsonl").read()}) == 3


def test_a_stage_is_not_spread(run: Path) -> None:
    with pytest.raises(ConfigError, match="goes to one device"):
        Models(device="auto").load(find_checkpoints([str(run)])[0])


if __name__ == "__main__":  # the command line with small tasks, for the test that kills it
    spec.load_task = small  # type: ignore[assignment]
    sys.exit(main(sys.argv[1:]))
