"""Somebody else's package adds a family, a task, a design, an estimator and a stage; nothing of ours is edited."""

import json
import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml
from PIL import Image

from fusionscope.records import Record, RecordFile, RunDirectory

OUTSIDE = Path(__file__).parent / "outside"
ESTIMATOR = "specific_information"
VARIANT = "exchanged:draws=2+specific_information:max_mismatch=1"
GROUPS = ("designs", "estimators", "families", "stages", "tasks")


class Environment:
    """A fresh virtual environment that sees the packages of this one, and has one of its own besides.

    Args:
        path: Where to make it.
    """

    def __init__(self, path: Path) -> None:
        venv.create(path, with_pip=False, symlinks=True)
        self.python = path / "bin" / "python"
        (packages,) = path.glob("lib/python*/site-packages")
        seen = [folder for folder in (*site.getsitepackages(), *sys.path) if folder.endswith("site-packages")]
        lines = [f"import site; site.addsitedir({folder!r})" for folder in dict.fromkeys(seen)]
        (packages / "present.pth").write_text("\n".join(lines) + "\n")

    def run(self, *words: object, cwd: Path | None = None) -> str:
        """Run a Python command and return what it printed."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PL_", "PYTHON"))}
        command = [str(self.python), *map(str, words)]
        ran = subprocess.run(
            command, cwd=cwd, env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr[-4000:]
        return ran.stdout

    def fusionscope(self, *words: object, cwd: Path) -> str:
        """Run our command."""
        return self.run("-m", "fusionscope.cli", *words, cwd=cwd)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(OUTSIDE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    environment = Environment(folder / "venv")
    environment.run("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", source)
    return environment


@pytest.fixture(scope="module")
def workplace(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of the outside family, training data, and one recipe."""
    folder = tmp_path_factory.mktemp("work")
    code = (
        "import torch; from fusionscope_outside.family import FAMILY; torch.manual_seed(0);"
        "model, processor = FAMILY.miniature(); model.save_pretrained('prism'); processor.save_pretrained('prism')"
    )
    installed.run("-c", code, cwd=folder)
    rows = []
    for i in range(8):
        Image.new("RGB", (32, 32), (30 * i, 0, 255 - 30 * i)).save(folder / f"{i}.png")
        turns = [{"from": "human", "value": "<image>\nwhat colour ?"}, {"from": "gpt", "value": "red"}]
        rows.append({"id": str(i), "image": f"{i}.png", "conversations": turns})
    (folder / "train.json").write_text(json.dumps(rows))
    (folder / "fit.yaml").write_text(yaml.safe_dump(recipe(folder)))
    return folder


def recipe(folder: Path) -> dict[str, object]:
    schedule = {"every_n_steps": 2, "log_spaced": 0.0}
    probing = {
        "tasks": [{"name": "clock", "settings": {"sizes": 1}}],
        "spec": {
            "design": "exchanged",
            "design_options": {"draws": 2},
            "estimator": ESTIMATOR,
            "estimator_options": {"max_mismatch": 1.0},
        },
        "schedule": schedule,
        "progress": False,
    }
    return {
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_steps": 2,
            "default_root_dir": str(folder / "run"),
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": [
                {"class_path": "fusionscope.callbacks.PIDCallback", "init_args": probing},
                {"class_path": "fusionscope.callbacks.ScheduledCheckpoint", "init_args": {"schedule": schedule}},
            ],
        },
        "model": {
            "class_path": "fusionscope_outside.stage.BiasTuning",
            "init_args": {
                "model": str(folder / "prism"),
                "vectors": {"norms": False},
                "warmup_steps": 0,
                "projector": {"tune": "full", "lr": 0.01},
                "language_model": {"tune": "full", "lr": 0.01},
            },
        },
        "data": {
            "class_path": "fusionscope.data.LlavaDataModule",
            "init_args": {
                "train": {
                    "class_path": "fusionscope.data.LlavaJson",
                    "init_args": {"path": str(folder / "train.json"), "cache_dir": str(folder / "cache")},
                },
                "template": "chat",
                "batch_size": 4,
            },
        },
    }


def records(directory: Path) -> list[Record]:
    return RecordFile(RunDirectory(directory).records).read()


def test_all_five_are_installed_and_named(installed: Environment) -> None:
    code = (
        "from importlib.metadata import entry_points\n"
        f"for group in {GROUPS}:\n"
        "    points = entry_points(group=f'fusionscope.{group}')\n"
        "    print(*[p.name for p in points if p.value.startswith('fusionscope_outside')])\n"
    )
    assert installed.run("-c", code).split() == ["exchanged", "specific_information", "prism", "bias_tuning", "clock"]


def test_fit_probe_and_report_use_all_five(installed: Environment, workplace: Path) -> None:
    installed.fusionscope("fit", "--config", "fit.yaml", cwd=workplace)
    live = records(workplace / "run")
    assert {record.step for record in live} == {0, 2}
    assert {(r.task, r.variant, r.estimator) for r in live} == {
        ("clock", VARIANT, ESTIMATOR),
    }
    assert len({record.fingerprints["model"] for record in live}) == 2  # the stage trained something

    (checkpoint,) = (workplace / "run").rglob("step=00000002.ckpt")
    words = ("--task", "clock:sizes=1", "--design", "exchanged:draws=2", "--estimator", f"{ESTIMATOR}:max_mismatch=1.0")
    printed = installed.fusionscope("probe", f"again={checkpoint}", *words, "--out", "probes", cwd=workplace)
    assert "1 probes made" in printed
    after = {record.layer: record for record in records(workplace / "probes")}
    for record in (record for record in live if record.step == 2):
        assert after[record.layer].fingerprints == record.fingerprints
        assert after[record.layer].synergy == pytest.approx(record.synergy, abs=1e-6)

    for directory in ("run", "probes"):
        printed = installed.fusionscope("report", directory, cwd=workplace)
        assert VARIANT in printed
        page = RunDirectory(workplace / directory).report.read_text()
        assert "over 2 draws per pair (exchanged design)" in page
        assert "Williams and Beer (2010)" in page
