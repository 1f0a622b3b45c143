"""What is done is known by content: changed tasks, weights and settings are measured anew, equal ones nowhere twice."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fusionscope.errors import ConfigError, DataError
from fusionscope.lens import TunedLens
from fusionscope.lvlm import LVLM, weights_fingerprint
from fusionscope.probe import ProbeSpec
from fusionscope.probe.tuning import new_lens, save_lens
from fusionscope.records import Record, RecordFile, RunDirectory
from fusionscope.records.event_files import rebuild
from fusionscope.sandbox.model import write
from fusionscope.study.report import report
from fusionscope.study.sweep import Models, find_checkpoints, sweep
from fusionscope.study.sweep.sources import Sources


def crossed(**settings: Any) -> ProbeSpec:
    return ProbeSpec(**{"layers": "last", "laws": "uniform", **settings})


LAST = crossed()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("base") / "model", seed=0)


@pytest.fixture
def quiz(tmp_path: Path) -> Path:
    """A task file of four images and two questions."""
    rows = []
    for i in range(4):
        Image.new("RGB", (32, 32), (60 * i, 0, 255 - 60 * i)).save(tmp_path / f"{i}.png")
        for question, answer in (("what colour is the circle ?", "red"), ("what colour is the square ?", "blue")):
            options = ["red", "blue"]
            rows.append({"image": f"{i}.png", "question": question, "options": options, "answer": answer})
    path = tmp_path / "quiz.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the models that are loaded."""
    paths: list[str] = []
    load = Models.load

    def counted(models: Models, checkpoint: Any) -> LVLM:
        paths.append(checkpoint.path)
        return load(models, checkpoint)

    monkeypatch.setattr(Models, "load", counted)
    return paths


Sweep = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run_sweep(base: Path, quiz: Path, tmp_path: Path) -> Sweep:
    def run(
        source: Path = base, settings: str = "", specs: tuple[ProbeSpec, ...] = (LAST,), task: Path = quiz
    ) -> tuple[int, list[str]]:
        lines: list[str] = []
        tasks = [f"custom/quiz:path={task},crossable=true{settings}"]
        made = sweep(find_checkpoints([f"m={source}"]), tasks, specs, tmp_path / "out", say=lines.append)
        return made, [line for line in lines if "anew" in line]

    return run


def records(directory: Path) -> list[Record]:
    return RecordFile(RunDirectory(directory).records).read()


def shifted(base: Path, target: Path) -> Path:
    """A copy of a model with one weight changed."""
    shutil.copytree(base, target)
    weights = load_file(target / "model.safetensors")
    name = next(name for name in weights if "norm" in name)
    weights[name] = weights[name] + 0.5
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_what_is_done_needs_no_model(run_sweep: Sweep, loads: list[str]) -> None:
    assert run_sweep() == (1, [])
    assert run_sweep() == (0, [])
    assert len(loads) == 1


def test_a_changed_task_file_is_measured_anew(run_sweep: Sweep, quiz: Path, tmp_path: Path) -> None:
    run_sweep()
    (before,) = records(tmp_path / "out")
    rows = [json.loads(line) for line in quiz.read_text().splitlines()]
    rows[0]["answer"] = "blue"
    quiz.write_text("\n".join(map(json.dumps, rows)))
    made, lines = run_sweep()
    assert (made, lines) == (1, ["m step 0: custom/quiz measured anew: the task's content has changed"])
    (after,) = records(tmp_path / "out")
    assert after.fingerprints["task"] != before.fingerprints["task"]
    assert after.accuracy != before.accuracy
    assert run_sweep() == (0, [])


def test_a_changed_image_is_measured_anew(run_sweep: Sweep, quiz: Path) -> None:
    run_sweep()
    Image.new("RGB", (32, 32), (0, 200, 0)).save(quiz.parent / "2.png")
    made, lines = run_sweep()
    assert made == 1
    assert "the task's content has changed" in lines[0]


def test_a_changed_ending_is_measured_anew(run_sweep: Sweep, tmp_path: Path) -> None:
    run_sweep()
    (before,) = records(tmp_path / "out")
    made, lines = run_sweep(settings=",ending=red or blue ?")
    assert made == 1
    assert "the task's content has changed" in lines[0]
    (after,) = records(tmp_path / "out")
    assert after.total != before.total


def test_changed_weights_are_measured_anew(run_sweep: Sweep, base: Path, tmp_path: Path, loads: list[str]) -> None:
    where = shutil.copytree(base, tmp_path / "changing")
    run_sweep(where)
    (before,) = records(tmp_path / "out")
    shutil.rmtree(where)
    shifted(base, where)
    made, lines = run_sweep(where)
    assert (made, lines) == (1, ["m step 0: custom/quiz measured anew: the weights have changed"])
    (after,) = records(tmp_path / "out")
    assert after.fingerprints["model"] != before.fingerprints["model"]
    assert after.total != before.total
    assert run_sweep(where) == (0, [])
    assert len(loads) == 2


def test_a_name_given_to_other_weights_at_another_path_is_measured_anew(
    run_sweep: Sweep, base: Path, tmp_path: Path
) -> None:
    run_sweep()
    (before,) = records(tmp_path / "out")
    made, lines = run_sweep(shifted(base, tmp_path / "elsewhere"))
    assert (made, lines) == (1, ["m step 0: custom/quiz measured anew: the weights have changed"])
    (after,) = records(tmp_path / "out")
    assert after.fingerprints["model"] != before.fingerprints["model"]


def test_weights_written_in_place_with_the_same_size_and_time_are_measured_anew(
    run_sweep: Sweep, base: Path, tmp_path: Path
) -> None:
    """Whoever copies files may set their times; the time of a file's last change is the system's alone."""
    import os

    where = shutil.copytree(base, tmp_path / "changing")
    run_sweep(where)
    file = where / "model.safetensors"
    times = file.stat()
    file.write_bytes((shifted(base, tmp_path / "other") / "model.safetensors").read_bytes())
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size
    assert run_sweep(where)[0] == 1


def test_changed_settings_are_measured_under_a_key_of_their_own(run_sweep: Sweep, tmp_path: Path) -> None:
    run_sweep()
    assert run_sweep(specs=(crossed(scoring="sequence"),)) == (1, [])
    assert run_sweep(specs=(crossed(fallback=0.3),)) == (1, [])
    assert run_sweep() == (0, [])
    variants = [record.variant for record in records(tmp_path / "out")]
    assert variants == ["crossed", "crossed+scoring=sequence", "crossed+fallback=0.3"]


def test_equal_content_under_another_path_is_done(
    run_sweep: Sweep, base: Path, quiz: Path, tmp_path: Path, loads: list[str]
) -> None:
    run_sweep()
    elsewhere = shutil.copytree(base, tmp_path / "elsewhere")
    assert run_sweep(elsewhere) == (0, [])
    assert len(loads) == 1
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in (quiz, *quiz.parent.glob("*.png")):
        shutil.copy(file, moved)
    assert run_sweep(elsewhere, task=moved / quiz.name) == (0, [])
    saved_again = tmp_path / "again"  # other bytes, the same weights: loading it shows that
    shutil.copytree(base, saved_again)
    weights = load_file(base / "model.safetensors")
    save_file(weights, saved_again / "model.safetensors", metadata={"format": "pt", "note": "again"})
    assert run_sweep(saved_again) == (0, [])
    assert len(loads) == 2
    assert run_sweep(saved_again) == (0, [])
    assert len(loads) == 2


def test_layers_are_not_mixed_from_two_sets_of_weights(run_sweep: Sweep, base: Path, tmp_path: Path) -> None:
    run_sweep(specs=(crossed(layers="all"),))
    run_sweep(shifted(base, tmp_path / "changed"))
    there = records(tmp_path / "out")
    assert [record.layer for record in there] == [0, 1, 2, 3, 4]
    assert len({record.fingerprints["model"] for record in there}) == 1


def test_records_that_do_not_say_what_they_measured_do_not_count(run_sweep: Sweep, tmp_path: Path) -> None:
    run_sweep()
    path = RunDirectory(tmp_path / "out").records
    rows = [{**json.loads(line), "fingerprints": {}} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made, lines = run_sweep()
    assert made == 1
    assert "do not say what was measured" in lines[0]


def test_an_adapter_is_its_own_weights_and_its_base(base: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "b")}))
    shutil.copytree(base, tmp_path / "b")
    (checkpoint,) = find_checkpoints([str(adapter)])
    sources = Sources(tmp_path / "sources.jsonl")
    before = sources.digest(checkpoint)
    assert Sources(tmp_path / "sources.jsonl").digest(checkpoint) == before
    shutil.rmtree(tmp_path / "b")
    shifted(base, tmp_path / "b")
    assert sources.digest(checkpoint) != before


def test_a_name_on_the_hub_is_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = {"now": "0" * 40}

    def cached(name: str, file: str) -> str:
        if name != "org/name":
            raise OSError("not on the hub\nmore")
        return f"/cache/models--org--name/snapshots/{commits['now']}/{file}"

    monkeypatch.setattr("fusionscope.study.sweep.sources.cached_file", cached)
    sources = Sources(tmp_path / "sources.jsonl")
    (checkpoint,) = find_checkpoints(["org/name"])
    before = sources.digest(checkpoint)
    assert sources.digest(checkpoint) == before
    commits["now"] = "1" * 40
    assert sources.digest(checkpoint) != before
    (other,) = find_checkpoints(["org/other"])
    with pytest.raises(ConfigError, match="model='org/other' cannot be loaded"):
        sources.digest(other)


def test_what_a_sweep_knows_survives_a_torn_line(tmp_path: Path, base: Path) -> None:
    path = tmp_path / "sources.jsonl"
    (checkpoint,) = find_checkpoints([str(base)])
    sources = Sources(path)
    digest = sources.digest(checkpoint)
    sources.note(digest, "auto", "f")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    torn = Sources(path)
    assert torn.model_of(digest, "auto") is None
    torn.note(digest, "auto", "f")
    assert path.read_bytes() == whole
    path.write_text("{}\n")
    with pytest.raises(DataError, match=r"sources\.jsonl, line 1[\s\S]*delete the file"):
        Sources(path)


def test_a_lens_is_known_by_its_name_and_not_by_its_path(
    run_sweep: Sweep, base: Path, tmp_path: Path, loads: list[str]
) -> None:
    lvlm = LVLM.from_pretrained(str(base))
    lenses = []
    for i, name in enumerate(("one", "two")):
        lens = new_lens(lvlm)
        with torch.no_grad():
            lens.shift[0].add_(0.1 * i)  # of a layer that is not probed
        save_lens(lens, lvlm, tmp_path / f"{name}.safetensors")
        lenses.append(lens)
    specs = [crossed(layers=[2], lens=str(tmp_path / f"{name}.safetensors")) for name in ("one", "two")]
    assert run_sweep(specs=tuple(specs))[0] == 2
    there = records(tmp_path / "out")
    assert [record.variant for record in there] == [f"crossed+lens={lens.name}" for lens in lenses]
    assert [record.spec["lens"] for record in there] == [lens.name for lens in lenses]
    shutil.copy(tmp_path / "two.safetensors", tmp_path / "three.safetensors")
    assert run_sweep(specs=(crossed(layers=[2], lens=str(tmp_path / "three.safetensors")),)) == (0, [])
    assert len(loads) == 1
    with pytest.raises(Exception, match="is damaged"):
        _renamed(tmp_path / "two.safetensors", lvlm)


def _renamed(path: Path, lvlm: LVLM) -> None:
    """Load a lens whose file says another name than what it holds."""
    tensors = load_file(path)
    notes = {"format": "fusionscope-tuned-lens-2", "base": weights_fingerprint([lvlm.model]), "name": "tuned-00000000"}
    save_file(tensors, path, metadata=notes)
    TunedLens.load(path, new_lens(lvlm).lens, notes["base"])


def test_measurements_that_differ_share_no_key_no_tag_and_no_place_in_a_figure(
    run_sweep: Sweep, base: Path, tmp_path: Path
) -> None:
    """Four masks, two numbers of draws and two lenses."""
    lvlm = LVLM.from_pretrained(str(base))
    save_lens(new_lens(lvlm), lvlm, tmp_path / "lens.safetensors")
    masked = [
        {"mask": "noise"},
        {"mask": "mean"},
        {"mask": "remove"},
        {"mask": "other"},
        {"mask": "noise", "draws": 3},
    ]
    specs = [ProbeSpec(layers="last", design="masked", design_options=options) for options in masked]
    specs += [LAST, crossed(lens=str(tmp_path / "lens.safetensors"))]
    assert run_sweep(specs=tuple(specs))[0] == 7
    there = records(tmp_path / "out")
    assert len(there) == 7
    assert len({record.series for record in there}) == 7
    assert run_sweep(specs=tuple(specs)) == (0, [])
    folder = rebuild(there, tmp_path / "out")
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag.endswith("/total")]
    assert len(tags) == 7
    assert all(len(events.Scalars(tag)) == 1 for tag in tags)
    text = report(tmp_path / "out")
    page = RunDirectory(tmp_path / "out").report.read_text()
    for record in there:
        assert f"custom/quiz ({record.variant})" in page
        assert record.variant in text
