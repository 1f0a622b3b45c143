"""Synthetic runs (what the sandbox's curves look like, with noise of the standard errors), a small task, a package."""

import tomllib
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fusionscope import plugins
from fusionscope.records import Record, Run, Stage
from fusionscope.tasks import HeldOutTask, Question, uniform_weights

OUTSIDE = Path(__file__).parent / "outside"
TEXTS = ("Is it red?", "Is the large thing on the left of it a circle?", "Is it?", "Are there two of them?")
TASKS = ("synergy", "knowledge", "vision", "redundant")
_STEPS = {"1_align": (0, 1, 2, 4, 8, 16, 32, 64, 100), "2_tune": (0, 1, 2, 4, 8, 16, 32, 50, 100, 150, 200)}
_OFFSET = {"1_align": 0, "2_tune": 100}


def one_record(**changes: Any) -> Record:
    settings: dict[str, Any] = {
        "run": "run",
        "run_name": "run",
        "variant": "crossed",
        "step": 0,
        "stage": "1_align",
        "stage_step": 0,
        "task": "sandbox/synergy",
        "design": "crossed",
        "law": "uniform",
        "estimator": "exact",
        "layer": 4,
        "n_layers": 4,
        "redundancy": 0.0,
        "unique_vision": 0.0,
        "unique_language": 0.0,
        "synergy": 0.0,
        "total": 0.0,
        "union_lower": 0.0,
        "union_upper": 0.0,
        "converged": True,
        "n": 1152,
        "n_images": 288,
        "n_questions": 4,
        "model": "sandbox",
        "seconds": 0.5,
        "tokens": 4000,
        "accuracy": 0.25,
        "accuracy_without_image": 0.25,
        "accuracy_without_text": 0.25,
        "diagnostics": {"option_mass": 0.99, "fallback_rate": 0.0, "marginal_mismatch": 0.0, "sum_rule_residual": 1e-9},
        "versions": {"fusionscope": "0.1.0", "torch": "2.13.0"},
    }
    settings |= {"run_name": changes.get("run", "run"), **changes}
    if "variant" not in changes:
        default = "uniform" if settings["design"] == "crossed" else "natural"
        parts = [settings["design"], *([] if settings["law"] == default else [settings["law"]])]
        parts += [] if settings["estimator"] == "exact" else [settings["estimator"]]
        settings["variant"] = "+".join(parts)
    return Record(**settings)


def curve(values: Any, *, error: float = 0.02, **changes: Any) -> list[Record]:
    """Records of one series and layer, one a value."""
    return [
        one_record(step=10 * i, stage_step=10 * i, synergy=float(v), standard_errors={"synergy": error}, **changes)
        for i, v in enumerate(values)
    ]


def whole_run(*, seed: int = 0, error: float = 0.02, run: str = "demo", learns: bool = True) -> list[Record]:
    """Two stages, four tasks, two pair weights for the redundant one, layers 0 to 4."""
    generator = np.random.default_rng(seed)
    records = []
    for stage, steps in _STEPS.items():
        for stage_step in steps:
            step = _OFFSET[stage] + stage_step
            for task in TASKS:
                for law in ("uniform", "natural") if task == "redundant" else ("uniform",):
                    for layer in range(5):
                        records.append(_point(task, law, layer, step, stage, stage_step, generator, error, run, learns))
    return records


def _point(
    task: str,
    law: str,
    layer: int,
    step: int,
    stage: str,
    stage_step: int,
    generator: np.random.Generator,
    error: float,
    run: str,
    learns: bool,
) -> Record:
    seen = 1 / (1 + np.exp(-(step - 118) / 6)) if learns else 0.0
    dip = 1 - 0.45 * np.exp(-(((step - 108) / 7) ** 2)) if learns else 1.0
    late, early = (0, 0, 0.4, 0.9, 1)[layer], (0, 0.05, 0.5, 0.95, 1)[layer]
    names = {
        "synergy": "synergy",
        "knowledge": "unique_language",
        "vision": "unique_vision",
        "redundant": "unique_language",
    }
    atoms = dict.fromkeys(("redundancy", "unique_vision", "unique_language", "synergy"), 0.0)
    main = "redundancy" if law == "natural" else names[task]
    level = {
        "synergy": 1.97 * seen * late,
        "knowledge": 1.97 * dip * early,
        "vision": 1.9 * seen * early,
        "redundant": 1.95 * early,
    }
    atoms[main] = float(level[task])
    if task == "synergy":
        atoms["unique_language"] = 0.3 * (1 - seen) * early
        atoms["unique_vision"] = 0.12 * seen * (1 - late)
    noisy = {atom: value + generator.normal(0, error * (0.3 + value / 2)) for atom, value in atoms.items()}
    total = sum(noisy.values())
    share = 0.25 + 0.75 * float(level[task]) / 2
    return one_record(
        run=run,
        run_name=run,
        step=step,
        stage=stage,
        stage_step=stage_step,
        task=f"sandbox/{task}",
        law=law,
        layer=layer,
        n_layers=4,
        total=total,
        union_lower=total - noisy["synergy"] - 1e-6,
        union_upper=total - noisy["synergy"],
        accuracy=share,
        accuracy_without_image=share if task in ("knowledge", "redundant") else 0.25,
        accuracy_without_text=share if task == "vision" else 0.25,
        standard_errors={**{a: error * (0.3 + v / 2) for a, v in atoms.items()}, "total": error / 2},
        diagnostics={
            "option_mass": 0.6 + 0.39 * early,
            "fallback_rate": 0.02 * (1 - early),
            "marginal_mismatch": 0.0,
            "sum_rule_residual": 1e-9,
        },
        **noisy,
    )


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    return one_record


@pytest.fixture(scope="session")
def make_curve() -> Callable[..., list[Record]]:
    return curve


@pytest.fixture(scope="session")
def make_run() -> Callable[..., list[Record]]:
    return whole_run


@pytest.fixture
def make_staged_run() -> Callable[..., Run]:
    def staged_run(directory: Any) -> Run:
        stages = (
            Stage(name="1_align", status="done", step_offset=0, steps=100),
            Stage(name="2_tune", status="done", step_offset=100, steps=200),
        )
        return Run(directory=directory, recipe="sandbox", digest="0", seed=0, stages=stages)

    return staged_run


class Noise(Sequence[Image.Image]):
    """Random pictures, drawn when asked for."""

    def __init__(self, n: int, shape: tuple[int, int] = (40, 48)) -> None:
        self.n, self.shape, self.opened = n, shape, 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: Any) -> Any:
        if not 0 <= i < self.n:
            raise IndexError(i)
        self.opened += 1
        return Image.fromarray(np.random.default_rng(i).integers(0, 255, (*self.shape, 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def make_task() -> Callable[..., HeldOutTask]:
    def make(
        n_images: int = 5, n_questions: int = 3, candidates: tuple[str, ...] = ("yes", "no"), **changes: Any
    ) -> HeldOutTask:
        truth = torch.arange(n_images * n_questions).view(n_images, n_questions) % len(candidates)
        pairs = torch.cartesian_prod(torch.arange(n_images), torch.arange(n_questions))
        settings: dict[str, Any] = {
            "name": "noise",
            "images": Noise(n_images),
            "image_ids": [f"{i}.png" for i in range(n_images)],
            "questions": [Question(text=text, candidates=candidates) for text in TEXTS[:n_questions]],
            "answers": candidates,
            "pairs": pairs,
            "pair_answers": truth.flatten(),
            "crossable": True,
            "truth": truth,
            "pair_weights": {"uniform": uniform_weights(n_images, n_questions)},
        }
        return HeldOutTask(**settings | changes)

    return make


@pytest.fixture
def install_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes the package under ``tests/outside`` known for one group of entry points, as if it were installed."""

    def install(group: str) -> None:
        project = tomllib.loads((OUTSIDE / "pyproject.toml").read_text())["project"]
        points = [EntryPoint(name, value, group) for name, value in project["entry-points"][group].items()]
        inside = plugins.entry_points
        monkeypatch.setattr(plugins, "entry_points", lambda group: [*inside(group=group), *points])
        monkeypatch.syspath_prepend(str(OUTSIDE))
        plugins.entries_of.cache_clear()

    yield install
    plugins.entries_of.cache_clear()


# Scripts of processes of their own, which register a device: not to be imported by the tests.
collect_ignore_glob = ["far_device.py", "*/*_run.py"]
