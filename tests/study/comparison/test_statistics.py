"""Comparisons over models, against values computed another way."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fusionscope.errors import ConfigError, InputError
from fusionscope.records import Record, RecordFile
from fusionscope.study.comparison import comparisons, read_profile, report, rows_of
from fusionscope.study.comparison.statistics import Row, correlations, ranks, scaling, spearman
from fusionscope.study.comparison.verdicts import family_strategies, regime, task_regimes

Make = Callable[..., Record]
PAPER = Path(__file__).parents[3] / "recipes" / "profile" / "paper26.yaml"


def spearman_by_hand(x: np.ndarray, y: np.ndarray) -> float:
    """1 - 6 sum d^2 / (n (n^2 - 1)), which holds without ties."""
    d = np.argsort(np.argsort(x)) - np.argsort(np.argsort(y))
    n = len(x)
    return 1 - 6 * float((d**2).sum()) / (n * (n**2 - 1))


@pytest.fixture
def rows(make_record: Make) -> list[Row]:
    """Twelve models of three families; S goes with accuracy on one task, U2 on the other."""
    generator = np.random.default_rng(5)
    found = []
    for task in ("fusing", "knowing"):
        for i in range(12):
            skill = i / 11 + generator.normal(0, 0.05)
            good, other = (
                (1.5 * skill, 0.7 - 0.4 * skill) if task == "fusing" else (0.3 + 0.1 * generator.random(), skill)
            )
            record = make_record(
                run=f"m{i}",
                task=task,
                layer=4,
                synergy=good,
                unique_language=other,
                total=good + other,
                accuracy=0.3 + 0.6 * skill,
                accuracy_without_image=0.25,
                standard_errors={"synergy": 0.03},
            )
            found.append(Row(model=f"m{i}", family=f"f{i // 4}", parameters=1e9 * 2 ** (i % 4), record=record))
    return found


def test_spearman_against_the_closed_form_and_with_ties() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 40, 9))
    for a, b, rho in zip(x, y, spearman(x, y), strict=True):
        assert rho == pytest.approx(spearman_by_hand(a, b), abs=1e-12)
    assert ranks(np.array([3.0, 1.0, 3.0, 3.0])).tolist() == [3.0, 1.0, 3.0, 3.0]
    tied = spearman(np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0, 4.0]))
    assert tied == pytest.approx(4.5 / math.sqrt(4.5 * 5.0))
    assert math.isnan(spearman(np.ones(4), np.arange(4.0)))


def test_correlations_have_intervals_that_hold_them(rows: list[Row]) -> None:
    found = {(c.task, c.measure, c.target): c for c in correlations(rows, resamples=500)}
    fusing = [row for row in rows if row.record.task == "fusing"]
    x = np.array([row.record.synergy for row in fusing])
    y = np.array([row.record.accuracy for row in fusing])
    c = found["fusing", "synergy", "accuracy"]
    assert c.rho == pytest.approx(spearman_by_hand(x, y), abs=1e-12)
    assert c.low <= c.rho <= c.high
    assert c.low > 0.5
    assert found["fusing", "synergy", "drop"].rho == pytest.approx(c.rho)
    assert math.isnan(found["fusing", "redundancy", "accuracy"].rho)


def test_bootstrap_intervals_cover() -> None:
    """The 95 % interval of a known rank correlation of 0 holds it about that often."""
    generator = np.random.default_rng(1)
    covered = 0
    for i in range(60):
        x, y = generator.normal(size=(2, 26))
        picks = np.random.default_rng(i).integers(0, 26, (300, 26))
        low, high = np.nanquantile(spearman(x[picks], y[picks]), [0.025, 0.975])
        covered += low <= 0 <= high
    assert covered >= 51  # binomial with .93: two standard deviations below


def test_regimes_are_those_of_the_paper() -> None:
    """Its coefficients of S and U2 with accuracy, and what it calls the tasks."""
    paper = {"MMBench": (0.750, 0.194), "POPE": (0.742, -0.009), "Reefknot": (0.357, 0.313), "PMC-VQA": (0.432, 0.406)}
    found = {task: regime(*pair) for task, pair in paper.items()}
    assert found == {
        "MMBench": "synergy-driven",
        "POPE": "synergy-driven",
        "Reefknot": "knowledge-driven",
        "PMC-VQA": "knowledge-driven",
    }
    assert regime(math.nan, math.nan) == "undecided"


def test_what_is_undefined_is_said(make_record: Make) -> None:
    def row(i: int, **changes: Any) -> Row:
        settings = {"run": f"m{i}", "task": "t", "synergy": 0.1 * i, "accuracy": 0.5, **changes}
        return Row(model=f"m{i}", family="f", parameters=1e9, record=make_record(**settings))

    same = [row(i, accuracy=0.5 + 1e-16 * i) for i in range(5)]  # tied but for the last digit of a sum
    found = {(c.measure, c.target): c for c in correlations(same, resamples=50)}
    assert math.isnan(found["synergy", "accuracy"].rho)
    assert found["synergy", "accuracy"].why == "accuracy does not vary"
    assert found["synergy", "accuracy"].undefined == 1
    assert math.isnan(task_regimes(same)[0].support)
    unknown = [row(i, accuracy=math.nan) for i in range(5)]
    assert correlations(unknown, resamples=50)[0].why == "0 models with both"
    assert task_regimes(unknown)[0].verdict == "undecided"
    varied = [row(i, accuracy=0.1 * i) for i in range(5)]
    unsolved = [row(5, accuracy=0.0, converged=False), row(6, accuracy=0.0, synergy=math.nan)]
    c = {(c.measure, c.target): c for c in correlations([*varied, *unsolved], resamples=50)}["synergy", "accuracy"]
    assert (c.rho, c.n, c.why) == (pytest.approx(1), 5, "")
    assert family_strategies([*varied, *unsolved])[0].synergy == pytest.approx(0)
    table = comparisons(same)["Spearman correlations over models (95 % bootstrap interval, each by itself)"]
    assert table[1][-1] == "accuracy does not vary"
    assert "Scale" not in "".join(comparisons(same))


def test_task_regimes_say_how_sure_they_are(rows: list[Row]) -> None:
    fusing, knowing = task_regimes(rows, resamples=300)
    assert (fusing.verdict, knowing.verdict) == ("synergy-driven", "knowledge-driven")
    assert fusing.support > 0.9
    assert 0.5 < knowing.support <= 1


def test_families_and_scale(rows: list[Row]) -> None:
    fusing = [row for row in rows if row.record.task == "fusing"]
    found = {v.name: v for v in family_strategies(fusing)}
    assert {name: v.verdict for name, v in found.items()}["f0"] == "language-centric"
    assert found["f2"].verdict == "fusion-centric"
    s = np.array([row.record.synergy for row in fusing])
    assert found["f2"].synergy == pytest.approx(((s - s.mean()) / s.std())[8:].mean())
    deltas = scaling(fusing)
    assert len(deltas) == 9
    assert all(d.doublings == pytest.approx(1) for d in deltas)
    assert deltas[0].changes["synergy"] == pytest.approx(s[1] - s[0])
    with pytest.raises(InputError, match="of fewer models"):
        scaling([*fusing, fusing[0]])


def test_a_profile_becomes_tables_and_a_page(rows: list[Row], tmp_path: Path) -> None:
    models = "".join(
        f"  - {{name: m{i}, family: f{i // 4}, parameters: {2 ** (i % 4)}.0e+9, path: x/m{i}}}\n" for i in range(12)
    )
    (tmp_path / "profile.yaml").write_text(f"tasks: [fusing, knowing]\nmodels:\n{models}")
    RecordFile(tmp_path / "records.jsonl").append([row.record for row in rows])
    text = report(tmp_path)
    assert "synergy-driven" in text
    table = pq.read_table(tmp_path / "profile.parquet").to_pylist()
    assert len(table) == 24
    assert table[0]["synergy"] == rows[0].record.synergy
    assert table[0]["se_synergy"] == 0.03
    assert (tmp_path / "profile.csv").read_text().count("\n") == 25
    assert "| fusing | m0 | f0 |" in (tmp_path / "profile.md").read_text()
    page = (tmp_path / "report.html").read_text()
    assert "https://" not in page
    assert "Rule: synergy-driven" in page
    assert page.count("<svg") == 2 * 2 + 2
    assert (tmp_path / "figures" / "breadth.png").stat().st_size > 5000


def test_the_papers_profile_names_its_26_models_and_4_tasks() -> None:
    profile = read_profile(PAPER)
    assert len(profile.models) == 26
    assert len({model.family for model in profile.models}) == 11
    assert [task.name.partition("/")[0] for task in profile.tasks] == ["mmbench", "pope", "reefknot", "pmc_vqa"]
    assert {c.kind for c in profile.checkpoints()} == {"model"}
    assert rows_of(profile, []) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: []\n", "holds \\['models'\\]"),
        ("models: []\ntasks: []\nlayer: last\n", "layer"),
        ("tasks: [a]\nmodels: [{name: a, path: b}]\n", "model {'name'"),
        ("tasks: [a]\nmodels: [{name: a, path: b, family: c}, {name: a, path: d, family: c}]\n", "names a twice"),
    ],
)
def test_a_wrong_profile_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_profile(tmp_path / "p.yaml")
