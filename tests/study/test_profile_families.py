"""A profile of six random models of six families on four tasks, by the command, stopped and taken up again."""

import csv
import json
from math import isnan, sqrt
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from fusionscope.cli import main
from fusionscope.lvlm.tiny import build
from fusionscope.records import RecordFile
from fusionscope.study import sweep as sweeping

FAMILIES = ("llava", "qwen2_5_vl", "internvl", "mllama", "idefics3", "paligemma")
ATOMS = ("redundancy", "unique_vision", "unique_language", "synergy")


def by_hand(x: list[float], y: list[float]) -> float:
    """Spearman's coefficient as Pearson's of mean ranks, written out; NaN where nothing varies."""

    def mean_ranks(values: list[float]) -> list[float]:
        places = sorted(round(value, 9) for value in values)
        return [
            sum(i + 1 for i, other in enumerate(places) if other == round(value, 9)) / places.count(round(value, 9))
            for value in values
        ]

    a, b = mean_ranks(x), mean_ranks(y)
    middle = (len(x) + 1) / 2
    scale = sqrt(sum((u - middle) ** 2 for u in a) * sum((v - middle) ** 2 for v in b))
    return sum((u - middle) * (v - middle) for u, v in zip(a, b, strict=True)) / scale if scale else float("nan")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profile")
    for i, family in enumerate(FAMILIES):
        model, processor = build(family, seed=i)
        model.save_pretrained(folder / family)
        processor.save_pretrained(folder / family)
    quiz = []
    for i in range(8):
        Image.new("RGB", (32, 32), (30 * i, 0, 255 - 30 * i)).save(folder / f"{i}.png")
        options = ["red", "blue", "green", "black"]
        quiz.append(
            {
                "image": f"{i}.png",
                "question": f"Which, {i}?",
                "options": options[i % 3 :] + options[: i % 3],
                "answer": 0,
            }
        )
    (folder / "quiz.jsonl").write_text("\n".join(map(json.dumps, quiz)))
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text('{"model_type": "cambrian_llama"}')
    tasks = [{"name": f"easy_vqa/{name}", "settings": {"n_images": 4}} for name in ("color", "shape")]
    tasks.append({"name": "easy_vqa/yesno", "settings": {"n_images": 4, "n_questions": 4}})
    tasks.append({"name": "custom/quiz", "settings": {"path": str(folder / "quiz.jsonl")}})
    models = [
        {"name": name, "path": str(folder / name), "family": name, "parameters": 1e5} for name in (*FAMILIES, "broken")
    ]
    (folder / "six.yaml").write_text(yaml.safe_dump({"models": models, "tasks": tasks, "layers": "last"}))
    return folder / "six.yaml"


def test_six_families_by_one_command(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    probe, made = sweeping.probe, []

    def interrupted(lvlm, task, **settings):
        made.append(task.name)
        if len(made) == 7:
            raise KeyboardInterrupt
        return probe(lvlm, task, **settings)

    monkeypatch.setattr(sweeping, "probe", interrupted)
    command = ["profile", str(spec), "--out", str(tmp_path), "--device", "cpu"]
    with pytest.raises(KeyboardInterrupt):
        main(command)
    before = (tmp_path / "records.jsonl").read_text()
    assert main(command) == 2  # one model cannot be loaded; the others are compared all the same
    out, error = capsys.readouterr()
    assert len(made) == 7 + 24 - 6
    assert (tmp_path / "records.jsonl").read_text().startswith(before)
    assert "cambrian_llama" in error
    assert "Traceback" not in error
    _check_tables(tmp_path)
    assert "Spearman correlations over models" in out


def _check_tables(directory: Path) -> None:
    records = [r for r in RecordFile(directory / "records.jsonl").read() if r.weights in ("uniform", "natural")]
    first = {}
    for record in records:
        first.setdefault((record.task, record.run), record)  # the first pair weights of a task are compared
    table = pq.read_table(directory / "profile.parquet").to_pylist()
    assert {(row["task"], row["model"]): row["synergy"] for row in table} == {k: r.synergy for k, r in first.items()}
    assert len(table) == 24
    for row in table:
        assert row["low_synergy"] < row["high_synergy"]
    with (directory / "correlations.csv").open() as file:
        found = {(row["task"], row["measure"], row["target"]): row for row in csv.DictReader(file)}
    assert len(found) == 4 * 5 * 2
    expected = {}
    for (task, measure, target), row in found.items():
        own = [first[task, family] for family in FAMILIES]
        goal = [r.accuracy - (r.accuracy_without_image if target == "drop" else 0) for r in own]
        rho = expected[task, measure, target] = by_hand([getattr(r, measure) for r in own], goal)
        assert float(row["rho"]) == pytest.approx(rho, abs=1e-12, nan_ok=True)
        assert bool(row["why"]) == isnan(rho)
        assert int(row["n"]) == 6
    page, text = (directory / "report.html").read_text(), (directory / "profile.md").read_text()
    for task in dict.fromkeys(task for task, _ in first):
        s, u = expected[task, "synergy", "accuracy"], expected[task, "unique_language", "accuracy"]
        regime = "synergy-driven" if s >= 0.5 and s - u >= 0.25 else "undecided"
        if regime == "undecided" and u > 0 and s - u <= 0.25:
            regime = "knowledge-driven"
        assert f"| {task} | {regime} |" in text
    assert "No records of broken on" in text
    assert "No records of broken on" in page
    assert ">nan<" not in page
    assert "nan" not in text
