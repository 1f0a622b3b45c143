"""The commands that look at a run afterwards; what they need is imported only when they run."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from fusionscope.cli import main, parser
from fusionscope.cli.probe import worker_command
from fusionscope.cli.request import layers_of, names_of
from fusionscope.cli.workers import worker_of
from fusionscope.errors import ConfigError
from fusionscope.records import Record, RecordFile
from fusionscope.tasks import settings_of


def records() -> list[Record]:
    return [
        Record(
            run="r",
            run_name="r",
            step=step,
            stage="s",
            stage_step=step,
            task="t",
            variant="crossed",
            design="crossed",
            law="uniform",
            estimator="exact",
            layer=layer,
            n_layers=2,
            redundancy=0.0,
            unique_vision=0.0,
            unique_language=0.1,
            synergy=0.01 * step * layer,
            total=0.1 + 0.01 * step * layer,
            union_lower=0.0,
            union_upper=0.0,
            converged=True,
            n=4,
            n_images=2,
            n_questions=2,
            accuracy=0.5,
        )
        for step in (0, 5, 10)
        for layer in range(3)
    ]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from fusionscope.cli import parser; parser().format_help();"
        "print([m for m in ('torch', 'lightning', 'transformers', 'matplotlib', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_report_and_tensorboard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RecordFile(tmp_path / "records.jsonl").append(records())
    assert main(["report", str(tmp_path)]) == 0
    assert "S (bits)" in capsys.readouterr().out
    assert (tmp_path / "report.html").is_file()
    assert main(["tensorboard", str(tmp_path)]) == 0
    assert list((tmp_path / "tensorboard").glob("events*"))


@pytest.mark.parametrize("command", ["report", "tensorboard"])
def test_a_directory_without_records(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, str(tmp_path)]) == 2
    assert "holds no records" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["probe", "nowhere/at/all"], "does not exist"),
        (["profile", "none.yaml"], "none.yaml does not exist"),
        (
            ["probe", "m", "--task", "sandbox/synergy", "--task-set", "images=[1"],
            "images=[1 is no YAML",
        ),
        (["probe", "m", "--task", "sandbox/synergy", "--task-set", "imges=1"], "it takes images, seed"),
        (["probe", "m", "--task", "custom"], "missing a required argument: 'path'"),
        (["probe", "m", "--task", "sandbox/synergy", "--device", "cudaa"], "device 'cudaa'"),
        (["probe", "m", "--task", "sandbox/synergy", "--device", "cuda:99"], "GPUs here"),
        (["probe", "m", "--task", "sandbox/synergy", "--dtype", "float17"], "dtype 'float17'"),
    ],
)
def test_errors_are_short(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Fix:" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [\n", "line 2, column 1 is no YAML"),
        ("models:\ntasks: [a]", "models is None"),
        ("models: [{name: a, path: b, family: c, parameters: 7B}]\ntasks: [a]", "parameters '7B' of a"),
        ("models: [{name: a, path: b, family: c}]\ntasks: [{settings: {}}]", "a task is a name"),
    ],
)
def test_a_profile_that_is_none(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.yaml").write_text(text)
    assert main(["profile", str(tmp_path / "p.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_words_of_the_command_line() -> None:
    assert layers_of("last") == "last"
    assert layers_of("0,16,-1") == (0, 16, -1)
    assert names_of("uniform, natural") == ("uniform", "natural")
    assert settings_of(["images=96", "path=a=b"], "--task-set") == {"images": 96, "path": "a=b"}
    assert worker_of(None) == (0, 1)
    assert worker_of("1/4") == (1, 4)
    with pytest.raises(ConfigError, match="--layers top"):
        layers_of("top")
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        settings_of(["images"], "--task-set")


def test_workers_get_the_same_command() -> None:
    words = [
        "probe",
        "run",
        "--out",
        "o",
        "--task",
        "a",
        "--task",
        "b",
        "--task-set",
        "n=1",
        "--layers",
        "last",
        "--law",
        "uniform",
        "--design",
        "masked:draws=2",
        "--set",
        "seed=1",
    ]
    options = parser().parse_args([*words, "--devices", "cuda:0,cuda:1"])
    assert isinstance(options, argparse.Namespace)
    again = parser().parse_args([*worker_command(options), "--device", "cuda:1", "--worker", "1/2"])
    for name in (
        "sources",
        "out",
        "task",
        "task_set",
        "design",
        "law",
        "set",
        "layers",
        "estimator",
        "dtype",
        "batch_size",
    ):
        assert getattr(again, name) == getattr(options, name), name
