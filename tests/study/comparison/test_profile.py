"""Profiles by the command, stopped and taken up again, against numbers computed here.

Six random models of six families, and six sandbox models of graded skill, each on four tasks.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from itertools import permutations
from math import isfinite, isnan, sqrt
from pathlib import Path
from typing import Any

import lightning as L
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from torch.utils.data import Dataset

from fusionscope.cli import main
from fusionscope.data import LlavaDataModule
from fusionscope.lvlm import miniature
from fusionscope.records import Record, RecordFile
from fusionscope.sandbox.model import write
from fusionscope.stages import PartConfig, VisualInstructionTuning
from fusionscope.study.sweep import run as sweeping
from fusionscope.tasks import load_task

FAMILIES = ("llava", "qwen2_5_vl", "internvl", "mllama", "idefics3", "paligemma")
SANDBOX = ("synergy", "knowledge", "vision", "redundant")
GRADED = "sandbox/knowledge"
STEPS = (2, 12, 24, 36, 48, 72)


def by_hand(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's coefficient as Pearson's of mean ranks, written out; NaN where nothing varies."""

    def mean_ranks(values: Sequence[float]) -> list[float]:
        places = sorted(round(value, 9) for value in values)
        return [
            sum(i + 1 for i, other in enumerate(places) if other == round(value, 9)) / places.count(round(value, 9))
            for value in values
        ]

    a, b = mean_ranks(x), mean_ranks(y)
    middle = (len(x) + 1) / 2
    scale = sqrt(sum((u - middle) ** 2 for u in a) * sum((v - middle) ** 2 for v in b))
    return sum((u - middle) * (v - middle) for u, v in zip(a, b, strict=True)) / scale if scale else float("nan")


class Answers(Dataset[dict[str, Any]]):
    """The held-out questions of the sandbox themselves: skill that grows within seconds."""

    def __init__(self) -> None:
        self.rows = []
        for name in SANDBOX:
            task = load_task(f"sandbox/{name}", images=48)
            for (a, b), answer in zip(task.pairs.tolist(), task.pair_answers.tolist(), strict=True):
                if a % 6 == 0:
                    question = task.questions[b]
                    turns = [("human", f"<image>\n{question.text}"), ("gpt", question.candidates[answer])]
                    said = [{"from": who, "value": what} for who, what in turns]
                    self.rows.append({"id": f"{name} {a} {b}", "image": task.images[a], "conversations": said})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


class Export(L.Callback):
    """Write the model as it is at some steps.

    Args:
        folder: Where to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step in STEPS:
            pl_module.export(self.folder / f"step-{trainer.global_step}")


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One training, six of its steps."""
    folder = tmp_path_factory.mktemp("graded")
    part = PartConfig(tune="full", lr=3e-3)
    stage = VisualInstructionTuning(
        str(write(folder / "base", seed=0)), warmup_steps=0, projector=part, language_model=part
    )
    trainer = L.Trainer(
        max_steps=STEPS[-1],
        max_epochs=-1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[Export(folder)],
        default_root_dir=folder,
    )
    trainer.fit(stage, datamodule=LlavaDataModule(train=Answers(), batch_size=64, seed=3))
    models = [
        {
            "name": f"step-{step}",
            "path": str(folder / f"step-{step}"),
            "family": f"f{i // 2}",
            "parameters": 1.0 + i % 2,
        }
        for i, step in enumerate(STEPS)
    ]
    tasks = [{"name": f"sandbox/{name}", "settings": {"images": 48}} for name in SANDBOX]
    (folder / "six.yaml").write_text(yaml.safe_dump({"models": models, "tasks": tasks, "spec": {"layers": "last"}}))
    return folder / "six.yaml"


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profile")
    for i, family in enumerate(FAMILIES):
        model, processor = miniature(family, seed=i)
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
    (folder / "six.yaml").write_text(yaml.safe_dump({"models": models, "tasks": tasks, "spec": {"layers": "last"}}))
    return folder / "six.yaml"


def test_six_families_by_one_command(
    families: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status = stopped_and_taken_up(families, tmp_path, monkeypatch)
    assert status == 2  # one model cannot be loaded; the others are compared all the same
    out, error = capsys.readouterr()
    assert "cambrian_llama" in error
    assert "Traceback" not in error
    assert "Spearman correlations over models" in out
    check_tables(tmp_path, FAMILIES)
    for name in ("profile.md", "report.html"):
        assert "No records of broken on" in (tmp_path / name).read_text()


def test_six_models_of_graded_skill_by_one_command(
    graded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stopped_and_taken_up(graded, tmp_path, monkeypatch) == 0
    check_tables(tmp_path, [f"step-{step}" for step in STEPS])
    rows = [row for row in pq.read_table(tmp_path / "profile.parquet").to_pylist() if row["task"] == GRADED]
    assert rows[-1]["accuracy"] - rows[0]["accuracy"] > 0.3
    assert len({row["accuracy"] for row in rows}) >= 4


def stopped_and_taken_up(spec: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the command twice, the first time interrupted in its seventh probe; 24 probes are made in all."""
    probe, made = sweeping.probe, []

    def interrupted(lvlm, task, spec, **settings):
        made.append(task.name)
        if len(made) == 7:
            raise KeyboardInterrupt
        return probe(lvlm, task, spec, **settings)

    monkeypatch.setattr(sweeping, "probe", interrupted)
    command = ["profile", str(spec), "--out", str(directory), "--device", "cpu"]
    with pytest.raises(KeyboardInterrupt):
        main(command)
    before = (directory / "records.jsonl").read_text()
    status = main(command)
    assert len(made) == 7 + 24 - 6
    assert (directory / "records.jsonl").read_text().startswith(before)
    return status


def check_tables(directory: Path, models: Sequence[str]) -> None:
    """Tables, correlations and regimes against the records, computed anew."""
    first: dict[tuple[str, str], Record] = {}
    for record in RecordFile(directory / "records.jsonl").read():
        first.setdefault((record.task, record.run), record)  # the first law of a task is compared
    table = pq.read_table(directory / "profile.parquet").to_pylist()
    synergy = {(row["task"], row["model"]): row["synergy"] for row in table}
    assert synergy == pytest.approx({key: record.synergy for key, record in first.items()}, rel=0, abs=0, nan_ok=True)
    assert len(table) == 24
    # Where each image has a question of its own, the rows identify an interval of the population's synergy, no point.
    assert {task for (task, _), value in synergy.items() if isnan(value)} == tasks_of_rows(first)
    for row in table:
        assert row["low_synergy"] < row["high_synergy"]
    with (directory / "correlations.csv").open() as file:
        found = {(row["task"], row["measure"], row["target"]): row for row in csv.DictReader(file)}
    assert len(found) == 4 * 5 * 2
    expected = {}
    for (task, measure, target), row in found.items():
        own = [first[task, model] for model in models if isfinite(getattr(first[task, model], measure))]
        goal = [r.accuracy - (r.accuracy_without_image if target == "drop" else 0) for r in own]
        rho = expected[task, measure, target] = by_hand([getattr(r, measure) for r in own], goal)
        assert float(row["rho"]) == pytest.approx(rho, abs=1e-12, nan_ok=True)
        assert bool(row["why"]) == isnan(rho)
        assert int(row["n"]) == (0 if task in tasks_of_rows(first) else 6)
    page, text = (directory / "report.html").read_text(), (directory / "profile.md").read_text()
    rules, p_values = {}, {}
    for task in dict.fromkeys(task for task, _ in first):
        s, u = expected[task, "synergy", "accuracy"], expected[task, "unique_language", "accuracy"]
        rules[task] = rule(s, u)
        own = [first[task, model] for model in models if isfinite(first[task, model].synergy)]
        columns = zip(*[(r.synergy, r.unique_language, r.accuracy) for r in own], strict=True)
        p_values[task] = by_chance(*columns) if own else 1.0
    smallest, level = sorted(p_values, key=p_values.__getitem__), {}
    for i, task in enumerate(smallest):  # Holm: each in turn at 2.5 % over those not yet decided, until one fails
        level[task] = all(p_values[name] <= 0.025 / (len(smallest) - j) for j, name in enumerate(smallest[: i + 1]))
    for task, said in rules.items():
        alone = f"undecided (by the numbers alone {said})" if said != "undecided" else said
        assert f"| {task} | {said if level[task] else alone} |" in text
    assert ">nan<" not in page
    assert "nan" not in text


def tasks_of_rows(first: Mapping[tuple[str, str], Record]) -> set[str]:
    """Tasks whose images were not crossed with their questions."""
    return {task for (task, _), record in first.items() if record.design == "rows"}


def rule(synergy: float, language: float) -> str:
    """The regime that two rank correlations give."""
    if synergy >= 0.5 and synergy - language >= 0.25:
        return "synergy-driven"
    return "knowledge-driven" if language > 0 and synergy - language <= 0.25 else "undecided"


def by_chance(synergy: Sequence[float], language: Sequence[float], accuracy: Sequence[float]) -> float:
    """How often ALL orders of the accuracies give a regime by as large a coefficient; 1 where there is none."""

    def strength(order: Sequence[float]) -> float:
        s, u = by_hand(synergy, order), by_hand(language, order)
        return {"synergy-driven": s, "knowledge-driven": u, "undecided": 0.0}[rule(s, u)]

    if strength(accuracy) == 0 or isnan(strength(accuracy)):
        return 1.0
    orders = [strength(order) for order in permutations(accuracy)]
    return sum(value >= strength(accuracy) - 1e-12 for value in orders) / len(orders)
